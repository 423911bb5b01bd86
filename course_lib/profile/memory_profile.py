"""What the memory of one rank held during one training step, as a file and as a text.

memory_timeline.py measures it: the bytes alive, by owner, whenever they changed, and what was alive
at the peak. The owners, in the order in which figures stack them:

    parameters  master  optimizer  gradients    state; gradients on their way to it count too
    activations    made on the way forward and kept for backward, by layer
    buffers        messages, gathered weights, and what layers share (a mask)
    data           tokens
    temporary      the rest: gone when its operation or its layer is done
    other          what only a GPU's allocator knows of: roundings, libraries' workspaces

RUN/profile/memory_rank<R>.json holds one. Left out on purpose: torch, so that reports and figures
need none.
"""

import json
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_origin

from course_lib.runlog import write_json

OWNERS = (
    *("parameters", "master", "optimizer", "gradients"),
    *("activations", "buffers", "data", "temporary", "other"),
)
OUTSIDE = "outside"
"""The layer of activations that no layer has made: the loss and its gradient."""


OWNER_COLOURS = {
    "parameters": "#0072B2",
    "master": "#000000",
    "optimizer": "#56B4E9",
    "gradients": "#D55E00",
    "activations": "#009E73",
    "buffers": "#CC79A7",
    "data": "#F0E442",
    "temporary": "#E69F00",
    "other": "#BBBBBB",
}
"""By owner of memory; bands lie in this order, from below, and the legend in the same."""


@dataclass(frozen=True, kw_only=True)
class LiveTensor:
    """One piece of memory that was alive at the peak."""

    bytes: int
    owner: str
    layer: str | None
    """The layer that made it, where that is known."""
    shape: list[int]
    dtype: str
    op: str
    """The operation it came out of; empty if it was there before the step."""
    region: str
    """Where that was: a layer's part, an autograd node, or after which layer."""


@dataclass(frozen=True, kw_only=True)
class AtPeak:
    """What was alive when most was."""

    time_s: float
    bytes_by_owner: dict[str, int]
    activation_bytes_by_layer: dict[str, int]
    largest: list[LiveTensor]
    """The largest first, at most 20."""


@dataclass(frozen=True, kw_only=True)
class MemoryProfile:
    """The memory of a rank over a step."""

    rank: int
    step: int
    """The first step is 1."""
    device: str
    times_s: list[float]
    """Since the step began; from each on, until the next, the bytes of the same place are alive."""
    bytes_by_owner: dict[str, list[int]]
    activation_bytes_by_layer: dict[str, list[int]]
    """The owner "activations" once more, layer by layer."""
    peak_bytes: int
    at_peak: AtPeak
    planned_peak_bytes: int | None = None
    """What plan/memory.py says of this rank."""

    def to_json(self) -> str:
        """Return the profile as JSON."""
        return json.dumps(asdict(self))

    def save(self, run_dir: Path) -> Path:
        """Write the profile into a run folder and return where."""
        path = memory_path(run_dir, self.rank)
        path.parent.mkdir(exist_ok=True)
        write_json(path, asdict(self))
        return path

    @staticmethod
    def from_json(text: str, source: str = "memory profile") -> "MemoryProfile":
        """Rebuild the profile that `to_json` or `save` wrote.

        Args:
            text: the JSON.
            source: what to call it in an error message: a file's name.

        Raises:
            ValueError: it is no JSON object, or a field is missing, unknown or of a wrong type.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{source} is not valid JSON: {error}") from None
        profile = _build(MemoryProfile, values, source, "")
        series = {"bytes_by_owner": profile.bytes_by_owner}
        series["activation_bytes_by_layer"] = profile.activation_bytes_by_layer
        for name, curves in series.items():
            for key, curve in curves.items():
                if len(curve) != len(profile.times_s):
                    raise ValueError(
                        f"{source}: {name}.{key} has {len(curve)} values, but times_s has "
                        f"{len(profile.times_s)}"
                    )
        return profile


def memory_path(run_dir: Path, rank: int) -> Path:
    """Return where the memory profile of a rank lies in a run folder."""
    return Path(run_dir) / "profile" / f"memory_rank{rank}.json"


def read_memory(run_dir: Path, rank: int = 0) -> MemoryProfile:
    """Read the memory profile of a rank.

    Raises:
        ValueError: there is none, or it is damaged; the message names the file and the field.
    """
    path = memory_path(run_dir, rank)
    if not path.is_file():
        raise ValueError(f"{path} does not exist: was the run started with profiling on?")
    return MemoryProfile.from_json(path.read_text(), str(path))


def memory_report(profile: MemoryProfile) -> str:
    """Say in words and tables what the peak was made of, and how far the plan was off."""
    at, peak = profile.at_peak, max(profile.peak_bytes, 1)
    lines = [
        f"memory of rank {profile.rank} in step {profile.step} ({profile.device}): "
        f"peak {_mib(profile.peak_bytes).strip()}, {at.time_s * 1e3:.1f} ms after its start"
    ]
    if profile.planned_peak_bytes is not None:
        off = profile.planned_peak_bytes / peak - 1
        lines.append(f"planned {_mib(profile.planned_peak_bytes).strip()}: {off:+.2%}")

    def table(head: str, rows: dict[str, int]) -> None:
        lines.extend(["", f"{head:24}{'at the peak':>15}{'share':>8}"])
        for name, num_bytes in rows.items():
            lines.append(f"{name:24}{_mib(num_bytes)}{num_bytes / peak:8.1%}")

    table("owner", {owner: n for owner, n in at.bytes_by_owner.items() if n})
    if at.activation_bytes_by_layer:
        table("activations of", at.activation_bytes_by_layer)
    lines += ["", f"largest{'':17}{'':15}  owner        made by"]
    for each in at.largest:
        shape = f"{' x '.join(map(str, each.shape)) or '1'} {each.dtype}"
        place = " ".join(filter(None, (each.layer, each.region)))
        made_by = f"{each.op} in {place}" if each.op else place
        lines.append(f"{shape:24}{_mib(each.bytes)}  {each.owner:12} {made_by}")
    return "\n".join(lines)


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:11,.2f} MiB"


def _build(kind: type, values: Any, source: str, where: str) -> Any:
    """Return a dataclass made from JSON values, each checked."""
    if not isinstance(values, dict):
        raise ValueError(f"{source}: {where.rstrip('.') or 'the top level'} is no JSON object")
    known = {field.name: field for field in fields(kind)}
    for name in values:
        if name not in known:
            raise ValueError(f"{source}: {where}{name} is unknown")
    for name, field in known.items():
        if name not in values and field.default is MISSING:
            raise ValueError(f"{source}: {where}{name} is missing")
    return kind(
        **{
            name: _checked(known[name].type, value, source, where + name)
            for name, value in values.items()
        }
    )


def _checked(kind: Any, value: Any, source: str, where: str) -> Any:
    if kind is AtPeak:
        return _build(AtPeak, value, source, f"{where}.")
    if kind == list[LiveTensor] and isinstance(value, list):
        return [_build(LiveTensor, x, source, f"{where}[{i}].") for i, x in enumerate(value)]
    if not _fits(kind, value):
        wanted = getattr(kind, "__name__", str(kind)) if isinstance(kind, type) else str(kind)
        raise ValueError(f"{source}: {where} should be {wanted}, not {str(value)[:40]!r}")
    return value


def _fits(kind: Any, value: Any) -> bool:
    """Tell whether a JSON value is of a type, looking into lists and objects."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is list:
        return isinstance(value, list) and all(_fits(inner[0], x) for x in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(inner[1], x) for x in value.values())
    if inner:  # a union
        return any(_fits(each, value) for each in inner)
    return isinstance(value, kind)
