# promised: no perplexity
ladder = {
    "rung_1": 47.5,
    "rung_2": 41.5,
    "rung_3": 40.2,
    "rung_4": 37.2,
    "rung_5": 35.4,
}
said = {"loss": 3.4780, "low": 3.4259, "high": 3.5302}
