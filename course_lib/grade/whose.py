"""Whose answer is judged, and since when jobs count for it.

Under an exercise it is whoever runs the notebook. While grading, the grader says in its environment
whose submission it has before it; checks run in the grader's own process, which the learner's code
cannot reach.
"""

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass

LEARNER, SINCE = "WORKSHOP_LEARNER", "WORKSHOP_GIVEN_OUT_S"


@dataclass(frozen=True, kw_only=True)
class Whose:
    """A learner and the time at which the lab was given out."""

    user: str
    """The learner's name on the cluster."""
    since_s: float = 0.0
    """Seconds since 1970: earlier jobs do not count."""
    graded: bool = False


def whose(environ: Mapping[str, str] = os.environ) -> Whose:
    """Return whose answer is judged: the grader's word for it, else whoever runs this process."""
    user = environ.get(LEARNER)
    if user:
        return Whose(user=user, since_s=float(environ.get(SINCE, "0")), graded=True)
    return Whose(user=getpass.getuser())
