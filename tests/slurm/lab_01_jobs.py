"""Lab 01's jobs, right ones and the most typical wrong ones: sent, handed in, judged. A program.

    python lab_01_jobs.py VERDICTS.json [slow]

It runs on a login node, in the current folder, as a learner's notebook does; `slow` adds what has
to wait for a time limit. It writes what each check says, by the answer's name; the tick for a pass.
"""

import json
import sys
import time
from pathlib import Path

from course_lib.grade import slurm_basics
from course_lib.grade.checks import CheckFailed
from course_lib.slurm.client import list_nodes
from course_lib.slurm.commands import Answered, dry_run, reason_of, reply, submit, wait_for

SHELL = "#!/bin/bash\n"
SLEEPER = f"{SHELL}sleep 600\n"
HOG = f"{SHELL}#SBATCH --time=1\n(head -c 400M /dev/zero; sleep 15) | tail -n 1 > /dev/null\n"
LOOP = f"{SHELL}#SBATCH --time=1\nwhile ((SECONDS < 8)); do :; done\n"
PART = f"{SHELL}#SBATCH --time=1 --output=part-%a.txt\nsleep 3\necho $SLURM_ARRAY_TASK_ID\n"
SAVING = f"""{SHELL}#SBATCH --time=1 --signal=B:USR1@10
save() {{
    srun --ntasks=1 --job-name=save echo saved
    exit 0
}}
trap save USR1
sleep 600 &
wait
"""
HELLO = f"""{SHELL}#SBATCH --nodes=2 --ntasks-per-node=2 --time=5 --mem=500M --output=hello-%j.out
echo "job $SLURM_JOB_ID"
srun bash -c 'echo "rank $SLURM_PROCID of $SLURM_NTASKS on $SLURMD_NODENAME"'
"""

answers: dict[str, tuple[str, dict[str, object]]] = {}
"""By name: exercise, and what is handed in when all jobs have ended."""


def answer(name: str, exercise: str, **values: object) -> None:
    answers[name] = (exercise, values)


def make_jobs_wait() -> None:
    num_nodes = len({node.node for node in list_nodes()})
    first = submit(SLEEPER)
    everything = submit(SLEEPER, f"--time=1 --exclusive --nodes={num_nodes}")
    later = submit(SLEEPER, "--time=1 --begin=now+60")
    time.sleep(4)
    answer("nodes are busy", "waiting_job", job=everything, reason=reason_of(everything))
    answer("not its time yet", "waiting_job", job=later, reason=reason_of(later))
    reply(f"scancel {first} {everything} {later}")
    five = [submit(f"{SHELL}sleep 5\n", "--time=1") for _ in range(5)]
    time.sleep(3)
    answer("limit of the QOS", "waiting_job", job=five[4], reason=reason_of(five[4]))
    answer("another reason", "waiting_job", job=five[4], reason="Resources")
    answer("did not wait", "waiting_job", job=five[0], reason="Resources")
    wait_for(*five)


def send_the_others(slow: bool) -> list[int]:
    if slow:
        answer("killed at its limit", "over_time", job=submit(SLEEPER, "--time=1"), state="TIMEOUT")
        foreground = SAVING.replace("sleep 600 &\nwait", "sleep 600")
        job = submit(foreground)
        answer("work in the foreground", "stopped_in_time", job=job, script=foreground)
        answer("saved in time", "stopped_in_time", job=submit(SAVING), script=SAVING)
        deaf = SAVING.replace("trap save USR1\n", "")
        answer("nobody listens", "stopped_in_time", job=submit(deaf), script=deaf)
    done = submit(f"{SHELL}true\n", "--time=1")
    answer("done in time", "over_time", job=done, state="COMPLETED")
    killed = submit(HOG, "--mem=100M")
    answer("killed for its memory", "over_memory", job=killed, state="FAILED")
    answer("enough memory", "over_memory", job=submit(HOG, "--mem=1G"), state="COMPLETED")
    array = submit(PART, "--array=0-3")
    for name, options in {
        "after all tasks": f"--dependency=afterok:{array}",
        "after the beginning": f"--dependency=after:{array}",
        "after one task": f"--dependency=afterok:{array}_0",
        "no dependency": "",
    }.items():
        after = submit(f"{SHELL}true\n", f"--time=1 {options}")
        answer(name, "array_and_after", array=array, after=after)
    answer("no array", "array_and_after", array=done, after=killed)
    wait_for(done, killed, array, after)  # the QOS takes 20 jobs at a time
    answer("one CPU", "right_size", job=submit(LOOP))
    answer("four CPUs", "right_size", job=submit(LOOP, "--cpus-per-task=4"))
    answer("work made shorter", "right_size", job=done)
    answer("four ranks on two nodes", "two_nodes", job=submit(HELLO))
    answer("no srun", "two_nodes", job=submit(HELLO.replace("srun bash", "bash")))
    one_each = submit(HELLO.replace("--ntasks-per-node=2", "--ntasks-per-node=1"))
    answer("one rank on each", "two_nodes", job=one_each)
    answer("one node", "two_nodes", job=submit(HELLO.replace("nodes=2", "nodes=1")))
    answer("a right script", "job_script", script=HELLO)
    answer("no such job", "two_nodes", job=99999)
    values = [value for _, given in answers.values() for value in given.values()]
    return [value for value in values if isinstance(value, int) and value != 99999]


def verdict(exercise: str, values: dict[str, object]) -> str:
    slurm_basics.hand_in(exercise, **values)
    try:
        getattr(slurm_basics, f"check_{exercise}")()
    except CheckFailed as failure:
        return " ".join(str(failure).split())
    return "✓"


def what_slurm_itself_says() -> dict[str, str]:
    """Return sbatch's own word on scripts that the checks refuse or warn of."""
    said = {}
    for name, script in {
        "0.5G": HELLO.replace("500M", "0.5G"),
        "500MB": HELLO.replace("500M", "500MB"),
        "--node": HELLO.replace("--nodes", "--node"),
        "no shell": HELLO.removeprefix(SHELL),
        "empty first line": "\n" + HELLO,
        "right": HELLO,
        "too many nodes": HELLO.replace("nodes=2", "nodes=99"),
        "late option": f"{SHELL}true\n#SBATCH --nodes=99\n",
        "small letters": f"{SHELL}#sbatch --nodes=99\ntrue\n",
        "space": f"{SHELL}# SBATCH --nodes=99\ntrue\n",
    }.items():
        try:
            dry_run(script)
            said[f"sbatch: {name}"] = "✓"
        except Answered as answered:
            said[f"sbatch: {name}"] = " ".join(str(answered).split())
    return said


if __name__ == "__main__":
    make_jobs_wait()
    wait_for(*set(send_the_others("slow" in sys.argv)), limit_s=240)
    verdicts = {name: verdict(*given) for name, given in answers.items()}
    Path(sys.argv[1]).write_text(json.dumps(verdicts | what_slurm_itself_says()))
