# right
ladder = {
    "rung_1": 4.5,
    "rung_2": 4.2023,
    "rung_3": 4.0463,
    "rung_4": 3.867,
    "rung_5": 3.7174,
}
said = {"loss": 3.4181, "low": 3.3668, "high": 3.4694}
