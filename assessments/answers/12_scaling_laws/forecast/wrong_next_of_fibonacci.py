# promised: at x = 13
ladder = {
    "rung_1": 3.8612,
    "rung_2": 3.7254,
    "rung_3": 3.6938,
    "rung_4": 3.615,
    "rung_5": 3.5661,
}
said = {"loss": 3.5239, "low": 3.4711, "high": 3.5768}
