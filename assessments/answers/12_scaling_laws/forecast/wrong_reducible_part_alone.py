# promised: E is missing
ladder = {
    "rung_1": 3.8612,
    "rung_2": 3.7254,
    "rung_3": 3.6938,
    "rung_4": 3.615,
    "rung_5": 3.5661,
}
said = {"loss": 0.2035, "low": 0.2004, "high": 0.2065}
