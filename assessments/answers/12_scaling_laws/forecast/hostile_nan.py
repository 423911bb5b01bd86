# promised: is no number
ladder = {
    "rung_1": 3.8612,
    "rung_2": 3.7254,
    "rung_3": 3.6938,
    "rung_4": 3.615,
    "rung_5": 3.5661,
}
said = {"loss": float("nan"), "low": 1.0, "high": 9.0}
