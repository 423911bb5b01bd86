"""`workshop doctor`: look at this machine and the class cluster, and name a remedy for each fault.

Checks that don't disturb each other run side by side, each with a time limit; each line is printed
as its check ends. The all-reduce comes last, because it measures. The exit code is 0 if nothing
failed: warnings and skipped checks are for the reader. Nothing here changes anything, except that
srun's small jobs, named `doctor`, stand in the queue for a moment.
"""

import json
import textwrap
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial

from slurm_env import cluster
from slurm_env.checks import FAILED, OK, STATES, Check, Finding, one_line, run_checks
from slurm_env.checks_cluster import NOT_RUNNING, cluster_checks, running_spec
from slurm_env.checks_machine import machine_checks
from slurm_env.checks_software import software_checks
from slurm_env.checks_tasks import measuring_checks, task_checks

AT_ONCE = 4
LINE_WIDTH = 100
NAME_WIDTH = 22


def as_lines(name: str, finding: Finding) -> str:
    """Write a finding as it is printed: state, name, what was found, and below it the remedy."""
    head = f"{finding.state:8} {name:{NAME_WIDTH}} "
    below = " " * len(head)
    wrap = textwrap.TextWrapper(
        LINE_WIDTH, subsequent_indent=below, break_long_words=False, break_on_hyphens=False
    )
    text = wrap.fill(head + finding.found)
    if finding.state != OK and finding != NOT_RUNNING:  # which names its remedy itself
        text += "\n" + wrap.fill(f"{below}Remedy: {finding.remedy}")
    return text


def as_list(checks: Sequence[Check], findings: Sequence[Finding]) -> str:
    """Write the findings as a list of {name, state, found, remedy}."""
    pairs = zip(checks, findings, strict=True)
    return json.dumps(
        [
            {"name": check.name, "state": f.state, "found": f.found, "remedy": f.remedy}
            for check, f in pairs
        ],
        indent=1,
    )


def summary(findings: Sequence[Finding], took_s: float) -> str:
    counts = Counter(finding.state for finding in findings)
    words = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    return f"{len(findings)} checks in {took_s:.0f} s: {words}."


def exit_code(findings: Sequence[Finding]) -> int:
    return 1 if any(finding.state == FAILED for finding in findings) else 0


def judge_unreadable_record(error: Exception) -> Finding:
    return Finding(
        FAILED,
        one_line(f"can't be read: {type(error).__name__}: {error}"),
        "`workshop down` and `workshop up` write it afresh; if it belongs to another user, set "
        "WORKSHOP_BASE to a folder of yours.",
    )


def main(as_json: bool) -> int:
    """Run all checks, print them, and give the exit code."""
    start = time.monotonic()
    try:
        record = cluster.running()
        spec = running_spec(record)
        unreadable = []
    except Exception as error:  # no reason not to look at the rest
        record = spec = None
        unreadable = [Check("cluster's record", partial(judge_unreadable_record, error))]
    together = [*unreadable, *software_checks(), *machine_checks(record)]
    together += cluster_checks(spec) + task_checks(spec)
    alone = measuring_checks(spec)

    def show(check: Check, finding: Finding) -> None:
        if not as_json:
            print(as_lines(check.name, finding), flush=True)

    findings = run_checks(together, AT_ONCE, show) + run_checks(alone, 1, show)
    if as_json:
        print(as_list(together + alone, findings))
    else:
        print(summary(findings, time.monotonic() - start))
    return exit_code(findings)
