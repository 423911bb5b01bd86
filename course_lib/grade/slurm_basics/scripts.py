"""Is the job script what was asked for? Judged from its text; nothing in it is run.

    2 nodes, 2 ranks on each, at most 5 minutes, about 500 MiB on each node, output in
    hello-JOBID.out; and srun starts ranks that say their number and their node

The order is that in which SLURM would stumble: is it a script, are its options read, do they say
what was meant, do the commands do it.
"""

import re
import shlex

from course_lib.grade.checks import CheckFailed
from course_lib.slurm.directives import (
    GAP,
    NoScript,
    Script,
    parse_memory_bytes,
    parse_script,
    parse_time_s,
)
from course_lib.slurm.notation import format_duration, format_size

NODES, RANKS_PER_NODE = 2, 2
LIMIT_S = 300
MEMORY_BYTES = 500 * 2**20
_RANK = re.compile(r"\$\{?SLURM_PROCID\b")
_VARIABLE = re.compile(r"\$\{?(SLURMD?_[A-Z_]+|HOSTNAME)\b")
_SHELL = re.compile(r"(?:\S*/)?(?:ba|da|z|k)?sh")
_FILLED, _KEPT = "\ue000", "\ue001"
"""A `$` that the script's shell fills in, and one that it only takes the backslash from."""


def judge_script(text: str) -> str:
    """Return what was found right, or raise CheckFailed with the first mistake."""
    try:
        script = parse_script(text)
    except NoScript as error:
        raise CheckFailed(str(error)) from None
    for number, line in enumerate(text.split("\n"), 1):
        if GAP in line:
            raise CheckFailed(f"line {number} of the script is still a gap: write what is missing")
    for ignored in script.ignored:
        raise CheckFailed(
            f"line {ignored.line} ({_short(ignored.text)}) is ignored without a word: {ignored.why}"
        )
    options = script.options
    _require_nodes(options)
    _require_ranks(options)
    _require_time(options.get("time"))
    _require_memory(options)
    _require_output(options.get("output"))
    _require_commands(script)
    return (
        f"{NODES} nodes x {RANKS_PER_NODE} ranks, {format_duration(LIMIT_S)} at most, and srun "
        "starts the ranks."
    )


def _require_nodes(options: dict[str, str]) -> None:
    nodes = options.get("nodes")
    if nodes is None and "ntasks" in options:
        raise CheckFailed(
            f"--ntasks={_short(options['ntasks'])} says how many ranks, not how many nodes: SLURM "
            f"would put them on as few nodes as it can. Add --nodes={NODES}"
        )
    if nodes is None:
        raise CheckFailed(f"how many nodes? #SBATCH --nodes={NODES}")
    if nodes not in (f"{NODES}", f"{NODES}-{NODES}"):
        raise CheckFailed(
            f"--nodes={_short(nodes)}, and {NODES} are asked for"
            + (": 4 is the number of ranks" if nodes == "4" else "")
        )


def _require_ranks(options: dict[str, str]) -> None:
    per_node, in_all = options.get("ntasks-per-node"), options.get("ntasks")
    total = NODES * RANKS_PER_NODE
    if per_node is None and in_all is not None:
        raise CheckFailed(
            f"--ntasks={_short(in_all)} is the number of ranks of the whole job, and SLURM may "
            f"fill the first node with them. {RANKS_PER_NODE} on each is "
            f"--ntasks-per-node={RANKS_PER_NODE}"
        )
    if per_node is None:
        raise CheckFailed(
            "how many ranks on a node? Without a word it is one: "
            f"--ntasks-per-node={RANKS_PER_NODE}"
        )
    if per_node != f"{RANKS_PER_NODE}":
        whole = f": {total} are those of the whole job" if per_node == f"{total}" else ""
        raise CheckFailed(
            f"--ntasks-per-node={_short(per_node)}, and {RANKS_PER_NODE} on each node are asked "
            f"for{whole}"
        )
    if in_all not in (None, f"{total}"):
        raise CheckFailed(
            f"--ntasks={_short(in_all)} does not fit {NODES} nodes x {RANKS_PER_NODE} ranks = "
            f"{total}: leave it out"
        )


def _require_time(text: str | None) -> None:
    if text is None:
        raise CheckFailed(
            "no --time: the job would get the default limit, and wait longer for it. A short job "
            "that says so fits into a gap: --time=5"
        )
    time_s = parse_time_s(text)
    if time_s is None:
        raise CheckFailed(
            f"--time={_short(text)} is no time for SLURM: minutes (5), or hours:minutes:seconds "
            "(00:05:00)"
        )
    if 0 < time_s < 60:
        raise CheckFailed(
            f"--time={_short(text)} is {time_s} s to SLURM, which reads minutes:seconds: write 5 "
            "or 00:05:00"
        )
    if not 0 < time_s <= LIMIT_S:
        raise CheckFailed(
            f"--time={_short(text)} is {format_duration(time_s)} (hours:minutes:seconds) to SLURM, "
            "which takes a bare number for minutes. At most 5 minutes are asked for: --time=5"
        )


def _require_memory(options: dict[str, str]) -> None:
    name = "mem" if "mem" in options else "mem-per-cpu"
    text = options.get(name)
    if text is None:
        raise CheckFailed(
            "no --mem: the job would get this site's default for each CPU. Say what you need on a "
            "node: --mem=500M"
        )
    size_bytes = parse_memory_bytes(text)
    if size_bytes is None:
        raise CheckFailed(
            f"--mem={_short(text)} is no size for SLURM: a whole number with K, M, G or T behind "
            "it: --mem=500M"
        )
    on_node = size_bytes * (RANKS_PER_NODE if name == "mem-per-cpu" else 1)
    if not 0.8 * MEMORY_BYTES <= on_node <= 1.2 * MEMORY_BYTES:
        each = ", for each CPU" if name == "mem-per-cpu" else ""
        raise CheckFailed(
            f"--{name}={_short(text)} is {format_size(size_bytes)}{each}; 500 MiB on a node are "
            "asked for: --mem=500M (M is MiB, and so is a number without a letter)"
        )


def _require_output(text: str | None) -> None:
    if text is None:
        raise CheckFailed("no --output: the file is to be named --output=hello-%j.out")
    if "%j" not in text and "%A" not in text:
        raise CheckFailed(
            f"--output={_short(text)} has the same name for every job, so the next one overwrites "
            "it: %j stands for the job's number, --output=hello-%j.out"
        )
    if "hello" not in text:
        raise CheckFailed(f"--output={_short(text)}: begin the name with hello: hello-%j.out")


def _require_commands(script: Script) -> None:
    body = "\n".join(script.commands)
    if not re.search(r"(?:^|[;&|(\s])srun\b", body):
        raise CheckFailed(
            "no srun: the script itself runs once, on the first node. What srun starts runs once "
            "for each rank, on both"
        )
    labelled = re.search(r"\bsrun\b[^\n]*\s(?:--label|-l)\b", body)
    if not _RANK.search(body) and not labelled:
        raise CheckFailed("the ranks do not say who they are: their number is $SLURM_PROCID")
    if not labelled and not _RANK.search(_left_by_shell(body).replace(_KEPT, "$")):
        raise CheckFailed(
            "$SLURM_PROCID is filled in before srun starts anything, so all ranks would say 0: put "
            "the ranks' command into single quotes, srun bash -c '...'"
        )
    _require_filled_in(body)
    if not re.search(r"SLURMD_NODENAME|\bhostname\b|HOSTNAME", body):
        raise CheckFailed("the ranks do not say where they are: the node is $SLURMD_NODENAME")


def _require_filled_in(text: str, *, by_rank: bool = False) -> None:
    """Refuse a variable that reaches the ranks as it is written, and that none of them fills in.

    Args:
        text: the script's commands, or those that a rank's own shell gets.
        by_rank: it is the latter.
    """
    for words in _simple_commands(text):
        if not by_rank:
            words = words[words.index("srun") + 1 :] if "srun" in words else []
        behind_c = [
            index + 2
            for index in range(len(words) - 2)
            if _SHELL.fullmatch(words[index]) and re.fullmatch(r"-\w*c", words[index + 1])
        ]
        if behind_c:
            _require_filled_in(words[behind_c[0]], by_rank=True)
            continue
        if "<<<" in words:
            continue
        unfilled = _VARIABLE.search(" ".join(words))
        if unfilled:
            raise CheckFailed(
                f"the ranks would print ${unfilled[1]} itself: "
                + (
                    "their bash finds it in quotes '...' or behind a \\, and leaves it alone. Put "
                    "it into double quotes there: srun bash -c 'echo \"...\"'"
                    if by_rank
                    else "nobody fills it in. Let srun start a bash: srun bash -c '...'"
                )
            )


def _simple_commands(text: str) -> list[list[str]]:
    """Return the words of each command, as they are after a shell has filled in what it does."""
    lexer = shlex.shlex(_left_by_shell(text), posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    commands: list[list[str]] = [[]]
    try:
        for word in lexer:
            if set(word) <= set(";|&()\n"):
                commands.append([])
            else:
                commands[-1].append(word.replace(_KEPT, "$"))
    except ValueError:
        pass  # a quote is not closed; here-documents, which are no words, may look so, too
    return commands


def _left_by_shell(text: str) -> str:
    """Return a text, still quoted, with each `$` marked as filled in or kept for somebody else.

    A `$` in single quotes stays as it is. Comments are dropped: they may hold half a quote.
    """
    left: list[str] = []
    quote, index = "", 0
    while index < len(text):
        sign = text[index]
        if sign == "\\" and quote != "'":
            following = text[index + 1 : index + 2]
            left.append(_KEPT if following == "$" else sign + following)
            index += 2
            continue
        if sign == "#" and not quote and text[index - 1 : index] in ("", " ", "\t", "\n", ";"):
            index = text.find("\n", index)
            if index < 0:
                break
            continue
        if sign == "$" and quote != "'":
            sign = _FILLED
        elif quote:
            quote = "" if sign == quote else quote
        elif sign in ("'", '"'):
            quote = sign
        left.append(sign)
        index += 1
    return "".join(left)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return "".join(sign if sign.isprintable() else "?" for sign in line)[:60]
