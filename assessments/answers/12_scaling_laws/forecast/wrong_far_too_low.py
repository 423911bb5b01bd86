# promised: below. Take it from the fit
ladder = {
    "rung_1": 3.8612,
    "rung_2": 3.7254,
    "rung_3": 3.6938,
    "rung_4": 3.615,
    "rung_5": 3.5661,
}
said = {"loss": 2.7824, "low": 2.7407, "high": 2.8242}
