"""What differs from one cluster to the next, in one TOML file per site.

A job script needs a partition, an account, the shape of a node, the lines that load software:
things that a course can't know about your cluster. All of them live in a site file and nowhere
else, so that a lab written on the class cluster runs on a GPU cluster after writing one file.

`load_site("class")` reads slurm_env/sites/class.toml; `load_site("/path/my.toml")` reads yours. The
environment variable WORKSHOP_SITE names the default. Nothing here talks to SLURM: the numbers are
what you write, and a job is checked against them before it is submitted.
"""

import dataclasses
import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SITES_DIR = Path(__file__).resolve().parents[2] / "slurm_env" / "sites"


NO_CLUSTER = "WORKSHOP_NO_CLUSTER"
"""Environment variable: why there is no cluster here, and so no site; set where notebooks are
graded."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """One cluster, as a job script needs to know it.

    Empty text means "do not ask for it": the cluster's own default applies.
    """

    name: str
    partition: str = ""  # queue to submit to
    account: str = ""  # who pays
    qos: str = ""  # quality of service: the set of limits that applies
    reservation: str = ""  # nodes set aside for the class
    max_nodes: int = 1  # nodes one job may ask for
    cpus_per_node: int = 1  # CPUs of one node
    gpus_per_node: int = 0  # GPUs of one node
    cpus_per_rank: int = 1  # CPUs reserved for each rank (process)
    mem_per_node_mib: int = 0  # memory of one node in MiB; 0: do not check
    mem_per_rank_mib: int = 0  # memory reserved for each rank in MiB; 0: the cluster's default
    default_time_min: int = 10  # time limit of a job that names none, minutes
    max_time_min: int = 60  # longest time limit, minutes
    stop_before_s: int = 60  # seconds before the time limit to save and requeue; 0: do not
    device: str = "cpu"  # where tensors live: cpu or cuda
    backend: str = "gloo"  # torch.distributed backend: gloo (CPU) or nccl (GPU)
    gpu_option: str = "--gpus-per-node={gpus}"  # how GPUs are asked for; or --gres=gpu:a100:{gpus}
    network_interface: str = ""  # e.g. ib0; empty lets the backend choose
    scratch: str = ""  # fast folder on each node, given to the job as WORKSHOP_SCRATCH
    python: str = ""  # the Python of the job; empty: the one that submits
    prelude: tuple[str, ...] = ()  # shell lines before the run, e.g. module load cuda
    srun_options: tuple[str, ...] = ()  # e.g. --container-image=... where pyxis is installed
    env: dict[str, str] = field(default_factory=dict)  # environment of every rank

    def __post_init__(self) -> None:
        """Refuse values that could never give a working job script."""
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f"site {self.name}: device is {self.device!r}; write 'cpu' or 'cuda'")
        if self.backend not in ("gloo", "nccl"):
            raise ValueError(f"site {self.name}: backend is {self.backend!r}: write gloo or nccl")
        if self.device == "cpu" and self.backend == "nccl":
            raise ValueError(
                f"site {self.name}: backend nccl moves GPU memory only, but device is cpu: "
                "write backend = 'gloo', or device = 'cuda'"
            )
        if self.device == "cuda" and self.gpus_per_node < 1:
            raise ValueError(
                f"site {self.name}: device is cuda, but gpus_per_node is {self.gpus_per_node}: "
                "write how many GPUs a node has"
            )
        for key in ("max_nodes", "cpus_per_node", "cpus_per_rank", "max_time_min"):
            if getattr(self, key) < 1:
                raise ValueError(
                    f"site {self.name}: {key} is {getattr(self, key)}; it is at least 1"
                )
        if not 1 <= self.default_time_min <= self.max_time_min:
            raise ValueError(
                f"site {self.name}: default_time_min {self.default_time_min} lies outside "
                f"1..max_time_min ({self.max_time_min})"
            )
        for key in ("partition", "account", "qos", "reservation", "network_interface"):
            value = getattr(self, key)
            # these go into `#SBATCH --key=value` and `export`, where a space would start a new word
            if not re.fullmatch(r"[\w.,:^=@+-]*", value):
                raise ValueError(f"site {self.name}: {key} {value!r} holds a space or a sign")
        for variable in self.env:
            if not re.fullmatch(r"[A-Za-z_]\w*", variable):
                raise ValueError(f"site {self.name}: [env] {variable!r} is no variable name")


def load_site(name_or_path: str | os.PathLike[str] | None = None) -> Site:
    """Read a site by its name, by the path of a .toml file, or (None) from $WORKSHOP_SITE.

    Raises:
        ValueError: no such site, or its file holds a key or a type that a site doesn't have.
    """
    if NO_CLUSTER in os.environ:
        raise ValueError(os.environ[NO_CLUSTER])
    wanted = str(name_or_path or os.environ.get("WORKSHOP_SITE") or "class")
    if wanted.endswith(".toml") or os.sep in wanted:
        path = Path(wanted).expanduser()
    else:
        path = SITES_DIR / f"{wanted}.toml"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in SITES_DIR.glob("*.toml"))) or "none"
        raise ValueError(
            f"no site {wanted!r}: there is no file {path}. Known sites: {known}. "
            "For a cluster of your own copy one of them, edit it, and pass its path."
        )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: this is not TOML: {error}") from error
    return site_from_table(table, source=str(path))


def site_from_table(table: dict[str, Any], *, source: str) -> Site:
    """Build a Site from a parsed TOML table; `source` names the file in messages.

    Raises:
        ValueError: an unknown key, a missing name, or a value of the wrong type.
    """
    fields = {each.name: each for each in dataclasses.fields(Site)}
    if "name" not in table:
        raise ValueError(f'{source}: the key "name" is missing')
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in fields:
            raise ValueError(f"{source}: unknown key {key!r}. Known keys: {', '.join(fields)}")
        values[key] = _typed(key, value, fields[key].type, source)
    return Site(**values)


def _typed(key: str, value: Any, kind: Any, source: str) -> Any:
    """Return the value as the field wants it, or refuse it by name."""
    if kind is str and isinstance(value, str):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind == tuple[str, ...] and isinstance(value, list) and _all_text(value):
        return tuple(value)
    if kind == dict[str, str] and isinstance(value, dict) and _all_text(value.values()):
        return dict(value)
    wanted = {str: "text", int: "a whole number"}.get(
        kind,
        "a list of texts" if kind == tuple[str, ...] else 'a table of texts (X = "1")',
    )
    raise ValueError(f"{source}: {key} = {value!r}: it must be {wanted}")


def _all_text(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)
