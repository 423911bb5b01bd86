# promised: fifth rung's loss
ladder = {
    "rung_1": 3.8612,
    "rung_2": 3.7254,
    "rung_3": 3.6938,
    "rung_4": 3.615,
    "rung_5": 3.5661,
}
said = {"loss": 3.5661, "low": 3.5126, "high": 3.6196}
