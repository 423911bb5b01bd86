"""Save a model and its optimizer so that a reader finds all of it or nothing.

    checkpoints/step_<N>/model.safetensors       weights by name
                         optimizer.safetensors   "<weight name>/<state>", for example ".../exp_avg"
                         meta.json               step, shapes, and size and hash of both files

The folder is written under a temporary name and renamed when all is on the disk, so a job that is
killed while saving leaves no checkpoint that looks whole and is not. safetensors holds numbers
only: loading one runs no code, as loading a pickle would.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from course_lib.runlog import write_json

FORMAT = 1


def save_checkpoint(
    run_dir: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> Path:
    """Write checkpoints/step_<step> in the run folder and return its path.

    To be called by one rank; with data parallelism they all hold the same.

    Args:
        run_dir: the run folder.
        step: optimizer steps done.
        model: its parameters are saved under their names.
        optimizer: its state is saved too, if given.
    """
    final = Path(run_dir) / "checkpoints" / f"step_{step}"
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    replaced = final.with_name(f".{final.name}.{os.getpid()}.old.tmp")
    temporary.mkdir(parents=True)
    try:
        weights = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
        files = {"model.safetensors": weights}
        if optimizer is not None:
            files["optimizer.safetensors"] = _optimizer_tensors(model, optimizer)
        described = {}
        for name, tensors in files.items():
            path = temporary / name
            save_file(tensors, path)
            described[name] = {"num_bytes": path.stat().st_size, "sha256": _sha256(path)}
        shapes = {name: list(weight.shape) for name, weight in weights.items()}
        meta = {"format": FORMAT, "step": step, "files": described, "shapes": shapes}
        write_json(temporary / "meta.json", meta)
        if final.exists():
            # From an attempt that was stopped before it could write its result. A folder can only
            # be renamed to a name that is free.
            os.rename(final, replaced)
        os.rename(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
    return final


def last_checkpoint(run_dir: Path) -> Path:
    """Return the run's checkpoint with the highest step.

    Raises:
        ValueError: the run has none.
    """
    folder = Path(run_dir) / "checkpoints"
    found = {int(path.name[5:]): path for path in folder.glob("step_*") if path.name[5:].isdigit()}
    if not found:
        raise ValueError(f"{run_dir} has no checkpoint: the run is not finished, or it failed")
    return found[max(found)]


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> int:
    """Load weights (and optimizer state, if an optimizer is given) in place; return the step.

    Nothing is changed unless every file is whole and every name and shape fits.

    Raises:
        ValueError: a file is missing or damaged, or the model is another one; the message names
            the file and the reason.
    """
    path = Path(path)
    meta = _read_meta(path)
    weights = _load_tensors(path, "model.safetensors", meta)
    parameters = dict(model.named_parameters())
    _check_fit(path / "model.safetensors", weights, parameters)
    if optimizer is not None:
        state = _load_tensors(path, "optimizer.safetensors", meta)
        _load_optimizer(path / "optimizer.safetensors", state, parameters, optimizer)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    return meta["step"]


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    # By the weight's name and not by its number, so that a file can be read without the code.
    return {
        f"{name}/{key}": value.detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _load_optimizer(
    path: Path,
    tensors: dict[str, Tensor],
    parameters: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> None:
    state: dict[str, dict[str, Tensor]] = {}
    for full_name, value in tensors.items():
        name, _, key = full_name.rpartition("/")
        state.setdefault(name, {})[key] = value
    if set(state) != set(parameters):
        different = sorted(set(state) ^ set(parameters))
        raise ValueError(f"{path} belongs to another model: see {', '.join(different[:3])}")
    # torch numbers the parameters in the order of its groups; it moves the values to their device.
    numbers = {
        parameter: number
        for number, parameter in enumerate(
            parameter for group in optimizer.param_groups for parameter in group["params"]
        )
    }
    numbered = {numbers[parameters[name]]: values for name, values in state.items()}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": numbered})


def _read_meta(path: Path) -> dict[str, Any]:
    meta_path = path / "meta.json"
    try:
        meta = json.loads(meta_path.read_text())
        if meta["format"] != FORMAT:
            raise ValueError(f"it has format {meta['format']}, and this program reads {FORMAT}")
        return {"step": int(meta["step"]), "files": dict(meta["files"])}
    except OSError as error:
        raise ValueError(f"{meta_path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{meta_path} is not a checkpoint's description: {error}") from error


def _load_tensors(path: Path, name: str, meta: dict[str, Any]) -> dict[str, Tensor]:
    file = path / name
    if name not in meta["files"]:
        raise ValueError(f"{path} was saved without {name}")
    if not file.is_file():
        raise ValueError(f"{file} is missing")
    expected = meta["files"][name]
    actual = file.stat().st_size
    if actual != expected["num_bytes"]:
        raise ValueError(
            f"{file} is damaged: it has {actual} bytes and should have {expected['num_bytes']}"
        )
    if _sha256(file) != expected["sha256"]:
        raise ValueError(f"{file} is damaged: its contents do not match the hash in meta.json")
    return load_file(file)


def _check_fit(path: Path, weights: dict[str, Tensor], parameters: dict[str, nn.Parameter]) -> None:
    problems = [f"{name} is not in the file" for name in parameters if name not in weights]
    problems += [f"{name} is not in the model" for name in weights if name not in parameters]
    problems += [
        f"{name} is {tuple(weights[name].shape)} in the file and {tuple(p.shape)} in the model"
        for name, p in parameters.items()
        if name in weights and weights[name].shape != p.shape
    ]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ValueError(f"{path} belongs to another model: {'; '.join(problems[:3])}{more}")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
