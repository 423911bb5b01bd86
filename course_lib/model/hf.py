"""Our GPT as a folder that Hugging Face's `transformers` loads as GPT-2, and the way back.

    config.json, generation_config.json    the model in GPT-2's words; which token ends a text
    model.safetensors                      its weights
    tokenizer.json, tokenizer_config.json  its tokenizer

The two models compute the same; three things are written differently. GPT-2's matrices stand the
other way round (its Conv1D is x @ W, our linear layer x @ W^T). GPT-2 has a bias everywhere: where
our model has none, zeros are written, and config.json notes it under `workshop_bias`. And its names
are others: see IN_A_BLOCK. Left out on purpose: `transformers` itself (JSON and safetensors are all
it takes), dropout, checkpoints in several pieces and pickled ones. Source: GPT2LMHeadModel in
transformers/models/gpt2/modeling_gpt2.py.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from course_lib.config import ModelConfig
from course_lib.model.gpt import GPT
from course_lib.runlog import write_json, write_text

END_OF_TEXT = "<|endoftext|>"
IN_A_BLOCK = {
    "norm1": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "norm2": "ln_2",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
}
"""Our names and GPT-2's for what a block holds."""
ACTIVATIONS: dict[str, Literal["gelu", "gelu_tanh"]] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",  # the same formula, rounded differently
}
"""GPT-2's names and ours."""
FIXED = {
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
    "quantization_config": None,
}
"""Options of GPT-2 that would change what it computes, with the one value that our model has."""


def export_gpt2(model: GPT, tokenizer: Tokenizer, folder: Path) -> Path:
    """Write a folder that `transformers` loads as GPT2LMHeadModel and AutoTokenizer; return it.

    The folder appears when it is complete. Weights keep their type.

    Args:
        model: a whole model, on any device.
        tokenizer: the one it was trained with.
        folder: a name that is free, or an empty folder.

    Raises:
        ValueError: the folder is not empty, the model is only a part of one, or the tokenizer does
            not fit it.
    """
    folder = Path(folder).expanduser().resolve()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not empty: name a new folder, or delete it first")
    config = model.config
    weights = {name: weight.detach().cpu() for name, weight in model.named_parameters()}
    with torch.device("meta"):
        whole = {name: weight.shape for name, weight in GPT(config).named_parameters()}
    if {name: weight.shape for name, weight in weights.items()} != whole:
        parts = [
            name for name in whole if name not in weights or weights[name].shape != whole[name]
        ]
        raise ValueError(
            f"the model is only a part of one: {', '.join(parts[:3])} are not here or not whole: "
            "export what load_model returns for its run folder"
        )
    end = _end_of_text(tokenizer, config.vocab_size, "the tokenizer")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        # Without "pt" older versions of transformers refuse the file.
        save_file(_gpt2_tensors(weights, config), temporary / "model.safetensors", {"format": "pt"})
        values = _gpt2_config(config, end, weights["tokens.weight"].dtype)
        write_json(temporary / "config.json", values)
        ends = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
        write_json(temporary / "generation_config.json", ends)
        write_text(temporary / "tokenizer.json", tokenizer.to_str(pretty=True))
        described = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "model_max_length": config.seq_len,
            # Would drop spaces before punctuation: decoded text has to be the text that went in.
            "clean_up_tokenization_spaces": False,
        }
        write_json(temporary / "tokenizer_config.json", described)
        # safetensors makes its files readable for their owner only.
        shutil.copymode(temporary / "config.json", temporary / "model.safetensors")
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def import_gpt2(folder: Path) -> tuple[GPT, Tokenizer]:
    """Read a local Hugging Face GPT-2 folder: its model, float32 on the CPU, and its tokenizer.

    Dropout is left out, so what is trained further is trained without it.

    Raises:
        ValueError: a file is missing or damaged, or the model is none that a GPT of ours can be;
            the message names the file and the reason.
    """
    folder = Path(folder).expanduser()
    paths = [folder / name for name in ("config.json", "model.safetensors", "tokenizer.json")]
    for path in paths:
        if not path.is_file():
            raise ValueError(
                f"{path} is missing: save_pretrained() of the model and of its fast tokenizer "
                "write what is needed here"
            )
    config_path, weights_path, tokenizer_path = paths
    values = _read_config(config_path)
    try:
        tensors = load_file(weights_path)
    except SafetensorError as error:
        raise ValueError(f"{weights_path} is damaged: {error}") from error
    tensors = _plain_names(tensors)
    # A model of ours that was trained on elsewhere may have got biases since.
    has_bias = values.get("workshop_bias", True) or any(
        bool(tensor.any()) for name, tensor in tensors.items() if name.endswith(".bias")
    )
    config = _model_config(config_path, values, bias=has_bias)
    head = tensors.pop("lm_head.weight", None) if config.tied_head else None
    if head is not None and not torch.equal(head, tensors.get("wte.weight", head)):
        raise ValueError(
            f"{weights_path}: lm_head.weight and wte.weight differ, but {config_path} says that "
            "they are one (tie_word_embeddings): set that to false there"
        )
    model = GPT(config)
    _fill(model, tensors, weights_path)
    try:
        tokenizer = Tokenizer.from_str(tokenizer_path.read_text())
    except Exception as error:  # the library raises plain Exception for a file it cannot parse
        raise ValueError(f"{tokenizer_path} is damaged: {error}") from error
    _end_of_text(tokenizer, config.vocab_size, str(tokenizer_path))
    return model, tokenizer


def _names(config: ModelConfig) -> dict[str, str]:
    """Return {our name: GPT-2's} of every weight and bias, GPT-2's without "transformer."."""
    modules = {"norm": "ln_f"} | {
        f"blocks.{i}.{ours}": f"h.{i}.{theirs}"
        for i in range(config.num_layers)
        for ours, theirs in IN_A_BLOCK.items()
    }
    names = {"tokens.weight": "wte.weight", "positions.weight": "wpe.weight"}
    if not config.tied_head:
        names["head.weight"] = "lm_head.weight"
    for ours, theirs in modules.items():
        names |= {f"{ours}.{part}": f"{theirs}.{part}" for part in ("weight", "bias")}
    return names


def _turned(their_name: str, tensor: Tensor) -> Tensor:
    """Turn a block's matrix from our orientation into GPT-2's or back; leave all else alone."""
    return tensor.t() if their_name.startswith("h.") and tensor.dim() == 2 else tensor


def _gpt2_tensors(weights: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    tensors = {}
    for ours, theirs in _names(config).items():
        weight = weights[ours.replace(".bias", ".weight")]
        # A bias that our model does not have: one zero for each number that comes out.
        tensor = weights[ours] if ours in weights else weight.new_zeros(len(weight))
        prefix = "" if theirs == "lm_head.weight" else "transformer."
        tensors[prefix + theirs] = _turned(theirs, tensor).contiguous()
    return tensors


def _gpt2_config(config: ModelConfig, end: int, dtype: torch.dtype) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.seq_len,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_embd": config.d_model,
        "n_inner": config.d_ff,
        "activation_function": "gelu" if config.activation == "gelu" else "gelu_new",
        "layer_norm_epsilon": FIXED["layer_norm_epsilon"],
        "tie_word_embeddings": config.tied_head,
        "workshop_bias": config.bias,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "bos_token_id": end,
        "eos_token_id": end,
        "dtype": str(dtype).removeprefix("torch."),
    }


def _read_config(path: Path) -> dict[str, Any]:
    """Read config.json and check that a GPT of ours computes what it describes."""
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(values, dict) or values.get("model_type") != "gpt2":
        found = values.get("model_type") if isinstance(values, dict) else None
        raise ValueError(
            f"{path}: model_type is {found!r}, but only 'gpt2' can be read: our GPT has learned "
            "positions, layer norms and GELU, as GPT-2 has"
        )
    activation = values.get("activation_function", "gelu_new")
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"{path}: activation_function is {activation!r}, but our MLP has only "
            f"{', '.join(ACTIVATIONS)}: take a model with one of these"
        )
    for key, ours in FIXED.items():
        if values.get(key, ours) != ours:
            raise ValueError(
                f"{path}: {key} is {values[key]!r}, but our model computes as with {ours!r}: "
                "take a model without that option"
            )
    return values


def _model_config(path: Path, values: dict[str, Any], *, bias: bool) -> ModelConfig:
    for key in ("vocab_size", "n_positions", "n_layer", "n_head", "n_embd", "n_inner"):
        value = values.get(key)
        if type(value) is not int and not (key == "n_inner" and value is None):
            raise ValueError(f"{path}: {key} is {value!r}, but it must be a whole number")
    try:
        return ModelConfig(
            vocab_size=values["vocab_size"],
            seq_len=values["n_positions"],
            num_layers=values["n_layer"],
            num_heads=values["n_head"],
            d_model=values["n_embd"],
            d_ff=values.get("n_inner"),
            bias=bias,
            tied_head=values.get("tie_word_embeddings", True),
            activation=ACTIVATIONS[values.get("activation_function", "gelu_new")],
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _plain_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop the prefix that not every file has, and the causal masks that old files carry."""
    masks = (".attn.bias", ".attn.masked_bias")
    return {
        name.removeprefix("transformer."): tensor
        for name, tensor in tensors.items()
        if not name.endswith(masks)
    }


def _fill(model: GPT, tensors: dict[str, Tensor], path: Path) -> None:
    """Copy GPT-2's tensors into the model; refuse a file that does not fit, by name."""
    parameters = dict(model.named_parameters())
    names = _names(model.config)
    problems = [f"{theirs} is missing" for theirs in names.values() if theirs not in tensors]
    problems += [f"{name} is unknown" for name in tensors if name not in names.values()]
    for ours, theirs in names.items():
        if ours in parameters and theirs in tensors:
            found = tuple(tensors[theirs].shape)
            needed = tuple(_turned(theirs, parameters[ours]).shape)
            if found != needed:
                problems.append(f"{theirs} is {found} and should be {needed}")
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ValueError(
            f"{path} does not fit config.json beside it: {'; '.join(problems[:3])}{more}"
        )
    with torch.no_grad():
        for ours, parameter in parameters.items():
            parameter.copy_(_turned(names[ours], tensors[names[ours]]))


def _end_of_text(tokenizer: Tokenizer, vocab_size: int, which: str) -> int:
    """Return the id of the token that ends a text; check that the tokenizer fits the model."""
    end = tokenizer.token_to_id(END_OF_TEXT)
    if end is None:
        raise ValueError(f"{which} has no {END_OF_TEXT}, with which GPT-2 ends a text: add it")
    largest = max(tokenizer.get_vocab().values())
    if largest >= vocab_size:
        raise ValueError(
            f"{which} has ids up to {largest}, but the model's token table has {vocab_size} rows: "
            "take the tokenizer that the model was trained with"
        )
    return end
