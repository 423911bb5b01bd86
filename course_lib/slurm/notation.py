"""Read and write the times, sizes and lists of nodes that SLURM prints.

SLURM writes one duration in many ways: `5` is minutes in `--time`, `05:00.123` is minutes and
seconds in sacct, `1-02:03:04` has days in front. Sizes come as `500M`, `1.5G` or plain bytes.
A list of nodes is `node[1-3,7]`. Everything leaves this file in seconds, bytes or names, so that
nobody else has to know.

Source: the time formats in the manual pages sbatch(1) (`--time`) and sacct(1) (`TotalCPU`).
"""

import re

_UNIT_BYTES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_duration_s(text: str) -> float:
    """Return the seconds in a duration as sacct, squeue and scontrol print it.

    `MM:SS[.mmm]`, `HH:MM:SS[.mmm]` and `D-HH:MM:SS[.mmm]` are read.

    Raises:
        ValueError: the text is none of these (`UNLIMITED` and `INVALID` are none either).
    """
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 05:00, 01:30:00 or 1-02:03:04")
    days, hours, minutes, seconds = match.groups()
    return int(days or 0) * 86400 + int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)


def parse_time_limit_s(text: str) -> int:
    """Return the seconds in a time limit as a person writes it: minutes, or HH:MM:SS.

    Raises:
        ValueError: it is neither, or it is zero.
    """
    text = text.strip()
    if text.isdecimal():
        seconds = int(text) * 60
    elif re.fullmatch(r"(\d+-)?\d{1,2}:\d{2}:\d{2}", text):
        seconds = int(parse_duration_s(text))
    else:
        # MM:SS is legal for SLURM, but read as HH:MM by most people: refuse it.
        raise ValueError(
            f"time limit {text!r}: write whole minutes (10) or HH:MM:SS (00:10:00), or D-HH:MM:SS"
        )
    if seconds == 0:
        raise ValueError("time limit 0: a job needs at least one minute; write 10 or 00:10:00")
    return seconds


def format_duration(seconds: float) -> str:
    """Write seconds as `HH:MM:SS`, with days in front when there are any."""
    days, rest = divmod(int(seconds), 86400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock


def parse_size_bytes(text: str) -> int:
    """Return the bytes in a size such as `500M`, `1.5G`, `12345K` or `1024`.

    A trailing `n` or `c` (older sacct: per node, per cpu) is dropped; the caller knows which.

    Raises:
        ValueError: the text is no size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)[nc]?", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 500M or 1.5G")
    return int(float(match[1]) * _UNIT_BYTES[match[2]])


def format_size(size_bytes: float) -> str:
    """Write bytes with a binary unit: `512 MiB`, `1.50 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.2f} GiB"


def expand_nodes(text: str) -> list[str]:
    """Return the names in a list of nodes such as `head,node[1-3,7]` or `rack[01-02]n1`.

    `None assigned`, which sacct writes of a job that never ran, has none.
    """
    if text in ("", "None assigned"):
        return []
    names = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        before, bracket, rest = part.partition("[")
        if not bracket:
            names.append(part)
            continue
        numbers, _, after = rest.partition("]")
        for span in numbers.split(","):
            first, _, last = span.partition("-")
            # Zeros in front belong to the name: node[08-10] is node08 node09 node10.
            inner = [str(n).zfill(len(first)) for n in range(int(first), int(last or first) + 1)]
            names += [name for number in inner for name in expand_nodes(f"{before}{number}{after}")]
    return names
