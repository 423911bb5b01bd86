# promised: no model of this size
ladder = {
    "rung_1": 0.919,
    "rung_2": 0.887,
    "rung_3": 0.879,
    "rung_4": 0.861,
    "rung_5": 0.849,
}
said = {"loss": 3.4780, "low": 3.4259, "high": 3.5302}
