"""Save a training run so that a reader finds all of it or nothing, and any layout can go on with
it.

    checkpoints/step_<N>/rank_<R>.safetensors    the pieces that rank R answers for
                         index.json              what they are pieces of; size and hash of each file

Every number of weights and optimizer state is written once, by the rank that counts it in the
gradient's norm, with a description of where it belongs (slices.py). Loading looks up what a rank of
the new layout needs: the same piece if the layout is the same, else the full tensor is put together
and cut anew.

The folder gets its name by a rename when all ranks' files are on the disk: a job that is killed
while saving leaves the last checkpoint as it was. The writing is done by a thread, from a copy,
over a process group of its own; training goes on meanwhile. safetensors holds numbers only: loading
one runs no code, as loading a pickle would.
"""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from course_lib.config import ModelConfig
from course_lib.parallel import comm
from course_lib.parallel.mesh import Axis, Mesh
from course_lib.parallel.parallelize import ParallelModel
from course_lib.parallel.slices import Piece, Slice, assemble
from course_lib.runlog import read_config, write_json

FORMAT = 2
STATES = ("exp_avg", "exp_avg_sq")
"""AdamW's memories of each weight."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One rank's share of a checkpoint, copied, so that training may go on."""

    step: int
    """Optimizer steps done: also the position in the data."""
    rank: int
    model: ModelConfig
    pieces: list[tuple[Piece, str, Tensor]]
    """Piece, which state of it ("weight" or an optimizer's), values (n,)."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Small numbers that belong to the whole run."""
    rng: Tensor | None = None


def take_snapshot(
    parallel: ParallelModel,
    optimizer: torch.optim.Optimizer | None,
    step: int,
    extra: dict[str, Any] | None = None,
) -> Snapshot:
    """Copy what this rank answers for: weights, optimizer state, random generator."""
    pieces, taken = [], 0.0
    for shard in parallel.shards:
        state = {} if optimizer is None else optimizer.state.get(shard.weight, {})
        taken = max(taken, float(state.get("step", 0.0)))
        if shard.counted:
            values = {"weight": shard.weight, **{key: state[key] for key in STATES if key in state}}
            pieces += [
                (shard.piece, key, value.detach().to("cpu", copy=True))
                for key, value in values.items()
            ]
    return Snapshot(
        step=step,
        rank=parallel.mesh.rank,
        model=parallel.run.model,
        pieces=pieces,
        extra={"optimizer_step": taken, **(extra or {})},
        rng=torch.get_rng_state(),
    )


class CheckpointWriter:
    """Writes checkpoints of all ranks together, one at a time, behind training's back.

    Args:
        run_dir: a folder that all ranks see.
        mesh: every rank of it makes a writer at the same time.
        keep: how many checkpoints to keep.
    """

    def __init__(self, run_dir: Path, mesh: Mesh, keep: int) -> None:
        self._folder, self._keep = Path(run_dir) / "checkpoints", keep
        self._axis = comm.separate_axis(mesh.world)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: Future[Path] | None = None

    def save(self, snapshot: Snapshot) -> None:
        """Begin to write; wait first for the one before. Its error, if any, is raised here."""
        self.wait()
        self._writing = self._thread.submit(_write, self._folder, snapshot, self._axis, self._keep)

    def wait(self) -> Path | None:
        """Return the folder of the last checkpoint when it is complete.

        Raises:
            OSError: a rank could not write its file; the checkpoints before it are as they were.
        """
        return None if self._writing is None else self._writing.result()

    def close(self) -> None:
        """Wait for what is being written, without asking how it ended."""
        self._thread.shutdown(wait=True)


def save_weights(run_dir: Path, step: int, weights: Mapping[str, Tensor]) -> Path:
    """Write full weights as a checkpoint of one rank, without optimizer; return its folder.

    Args:
        run_dir: a run folder; its config.json says which model they belong to.
        step: the checkpoint's number.
        weights: by parameter name.
    """
    pieces = [
        (
            Piece(name=name, slice=Slice(shape=tuple(w.shape)), start=0, stop=w.numel()),
            "weight",
            w.detach().flatten().cpu(),
        )
        for name, w in weights.items()
    ]
    snapshot = Snapshot(step=step, rank=0, model=read_config(run_dir).model, pieces=pieces)
    alone = Axis(name="world", size=1, rank=0, group=None, ranks=(0,))
    return _write(Path(run_dir) / "checkpoints", snapshot, alone, keep=2)


def last_checkpoint(run_dir: Path) -> Path:
    """Return the run's checkpoint with the highest step.

    Raises:
        ValueError: the run has none.
    """
    found = _found(Path(run_dir) / "checkpoints")
    if not found:
        raise ValueError(f"{run_dir} has no checkpoint: the run has not come to one, or it failed")
    return found[max(found)]


def load_checkpoint(
    path: Path, parallel: ParallelModel, optimizer: torch.optim.Optimizer | None = None
) -> tuple[int, dict[str, Any]]:
    """Load weights (and optimizer state, if one is given) into any layout; return step and extra.

    Nothing is changed unless every file that is needed is whole and everything fits.

    Raises:
        ValueError: a file is missing or damaged, or the model is another one; the message names
            the file and the reason.
    """
    reader = _Reader(Path(path))
    reader.check_model(parallel.run.model)
    found = []
    for shard in parallel.shards:
        values = {"weight": reader.read(shard.piece, "weight")}
        if optimizer is not None:
            values |= {state: reader.read(shard.piece, state) for state in STATES}
        found.append(values)
    rng = reader.rng(parallel.mesh.rank, parallel.mesh.world_size)
    taken = torch.tensor(float(reader.extra["optimizer_step"]))
    with torch.no_grad():
        for shard, values in zip(parallel.shards, found, strict=True):
            shard.weight.copy_(values.pop("weight"))
            if optimizer is not None:
                like = shard.weight
                state = {key: value.to(like.device, like.dtype) for key, value in values.items()}
                optimizer.state[like] = {"step": taken.clone().to(like.device), **state}
    parallel.publish()
    if rng is not None:
        torch.set_rng_state(rng)
    return reader.step, reader.extra


def read_weights(path: Path, model: ModelConfig) -> dict[str, Tensor]:
    """Return every full weight of a checkpoint by its name, in float32.

    Raises:
        ValueError: a file is missing or damaged, or it holds another model.
    """
    reader = _Reader(Path(path))
    reader.check_model(model)
    return {name: reader.full(name, "weight") for name in reader.names()}


def _write(folder: Path, snapshot: Snapshot, axis: Axis, keep: int) -> Path:
    """Write all ranks' files, then the index, then give the folder its name."""
    final = folder / f"step_{snapshot.step}"
    temporary = folder / f".step_{snapshot.step}.tmp"
    first = axis.rank == 0

    def together(action) -> list[Any]:
        """Do a part of the work; all ranks learn of an error of one, so that none waits for it."""
        value, problem = None, None
        try:
            value = action()
        except OSError as error:
            problem = error
        told = comm.all_gather_object((value, problem and str(problem)), axis)
        failures = [f"rank {rank}: {text}" for rank, (_, text) in enumerate(told) if text]
        if failures:
            if first:
                shutil.rmtree(temporary, ignore_errors=True)
            raise OSError(
                f"checkpoint {final} was not written ({'; '.join(failures)})"
            ) from problem
        return [value for value, _ in told]

    def begin() -> None:
        if first:
            shutil.rmtree(temporary, ignore_errors=True)  # from an attempt that was killed
            temporary.mkdir(parents=True)

    def commit() -> None:
        if not first:
            return
        index = {
            "format": FORMAT,
            "step": snapshot.step,
            "ranks": axis.size,
            "model": dataclasses.asdict(snapshot.model),
            "extra": snapshot.extra,
            "files": {part["file"]: part for part in parts},
        }
        write_json(temporary / "index.json", index)
        _sync(temporary)
        if final.exists():
            # From an earlier attempt. A folder can only be renamed to a name that is free.
            replaced = folder / f".step_{snapshot.step}.old.tmp"
            shutil.rmtree(replaced, ignore_errors=True)
            os.rename(final, replaced)
        os.rename(temporary, final)
        _sync(folder)
        for path in folder.glob(".step_*.tmp"):
            shutil.rmtree(path, ignore_errors=True)
        found = _found(folder)
        for step in sorted(found)[:-keep]:
            shutil.rmtree(found[step], ignore_errors=True)

    together(begin)
    parts = together(lambda: _write_rank(temporary, snapshot))
    together(commit)
    return final


def _write_rank(folder: Path, snapshot: Snapshot) -> dict[str, Any]:
    """Write one rank's file and return its description."""
    path = folder / f"rank_{snapshot.rank:05d}.safetensors"
    tensors, entries = {}, []
    for number, (piece, state, values) in enumerate(snapshot.pieces):
        key = f"{piece.name}/{state}"
        entries.append({"key": key, "state": state, **dataclasses.asdict(piece)})
        assert key not in tensors, number
        tensors[key] = values
    if snapshot.rng is not None:
        tensors["rng"] = snapshot.rng
    save_file(tensors, path)
    path.chmod(0o644)  # safetensors makes it private; the run folder decides who may read
    _sync(path)
    description = {"num_bytes": path.stat().st_size, "sha256": _sha256(path)}
    return {"file": path.name, **description, "tensors": entries}


class _Reader:
    """A checkpoint on disk; files are checked when something is first read from them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._index_path = path / "index.json"
        try:
            index = json.loads(self._index_path.read_text())
            if index["format"] != FORMAT:
                raise ValueError(f"it has format {index['format']}, this program reads {FORMAT}")
            self.step, self.extra = int(index["step"]), dict(index["extra"])
            self._ranks, self._model = int(index["ranks"]), dict(index["model"])
            self._files: dict[str, dict[str, Any]] = dict(index["files"])
            self._entries: dict[tuple[str, str], list[tuple[Piece, str, str]]] = {}
            for name, file in self._files.items():
                for entry in file["tensors"]:
                    piece = _piece(entry)
                    place = (piece, name, entry["key"])
                    self._entries.setdefault((piece.name, entry["state"]), []).append(place)
        except OSError as error:
            raise ValueError(f"{self._index_path} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self._index_path} is not a checkpoint's description: {error}"
            ) from error
        self._open: dict[str, Any] = {}

    def check_model(self, model: ModelConfig) -> None:
        """Refuse a checkpoint of another model, naming what differs."""
        wanted = dataclasses.asdict(model)
        differences = [
            f"{key} is {self._model.get(key)} there and {wanted[key]} here"
            for key in wanted
            if self._model.get(key) != wanted[key]
        ]
        if differences:
            raise ValueError(
                f"{self._index_path} belongs to another model: {'; '.join(differences[:3])}"
            )

    def names(self) -> list[str]:
        """Return the names of all weights."""
        return [name for name, state in self._entries if state == "weight"]

    def read(self, piece: Piece, state: str) -> Tensor:
        """Return the numbers (n,) of a piece."""
        for saved, file, key in self._places(piece.name, state):
            if saved == piece:
                return self._tensor(file, key)
        whole = piece.slice.cut(self.full(piece.name, state))
        return whole.flatten()[piece.start : piece.stop]

    def full(self, name: str, state: str) -> Tensor:
        """Return a full tensor, put together from all its pieces."""
        places = self._places(name, state)
        try:
            return assemble((saved, self._tensor(file, key)) for saved, file, key in places)
        except ValueError as error:
            raise ValueError(f"{self._index_path}: {error}") from error

    def rng(self, rank: int, world_size: int) -> Tensor | None:
        """Return the random generator's state, if the run has the same number of ranks."""
        file = f"rank_{rank:05d}.safetensors"
        if world_size != self._ranks or file not in self._files:
            return None
        return self._tensor(file, "rng") if "rng" in self._file(file).keys() else None  # noqa: SIM118

    def _places(self, name: str, state: str) -> list[tuple[Piece, str, str]]:
        places = self._entries.get((name, state))
        if not places:
            what = "weight" if state == "weight" else f"optimizer state {state}"
            raise ValueError(f"{self._path} was saved without the {what} of {name}")
        return places

    def _tensor(self, file: str, key: str) -> Tensor:
        return self._file(file).get_tensor(key)

    def _file(self, name: str) -> Any:
        if name not in self._open:
            path, expected = self._path / name, self._files[name]
            if not path.is_file():
                raise ValueError(f"{path} is missing")
            actual = path.stat().st_size
            if actual != expected["num_bytes"]:
                raise ValueError(
                    f"{path} is damaged: it has {actual} bytes and should have "
                    f"{expected['num_bytes']}"
                )
            if _sha256(path) != expected["sha256"]:
                raise ValueError(
                    f"{path} is damaged: its contents do not match the hash in index.json"
                )
            try:
                self._open[name] = safe_open(path, framework="pt")
            except SafetensorError as error:
                raise ValueError(f"{path} is damaged: {error}") from error
        return self._open[name]


def _piece(entry: dict[str, Any]) -> Piece:
    cut = dict(entry["slice"])
    cut["shape"] = tuple(cut["shape"])
    return Piece(name=entry["name"], slice=Slice(**cut), start=entry["start"], stop=entry["stop"])


def _found(folder: Path) -> dict[int, Path]:
    paths = folder.glob("step_*")
    return {int(path.name[5:]): path for path in paths if path.name[5:].isdigit()}


def _sync(path: Path) -> None:
    """Wait until the disk has it: a rename must not get there before what it names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
