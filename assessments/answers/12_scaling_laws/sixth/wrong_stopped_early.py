# promised: The task wants train.steps
ladder = {
    "rung_1": 3.8612,
    "rung_2": 3.7254,
    "rung_3": 3.6938,
    "rung_4": 3.615,
    "rung_5": 3.5661,
}
said = {"loss": 3.4780, "low": 3.4364, "high": 3.5196}
held_out = 3.478


def run(run, replace):
    return replace(run, train=replace(run.train, steps=600, warmup_steps=60))
