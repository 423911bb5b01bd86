"""The configuration of a run: frozen dataclasses that only hold and check values.

A `RunConfig` is all a training run needs to know; it is written to `config.json` in the run folder
and read back by every rank. Each class checks itself when it is built, so a wrong value stops
the learner at the desk and not on a node ten minutes later. What depends on the number of ranks is
checked in layout.py. The docstring under a field is also the help text of the command line. Left
out on purpose: reading environment variables, and anything that needs torch (a login node must
answer at once).
"""

import dataclasses
import json
import re
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

FP16_ON_A_CPU = (
    "precision fp16 on a CPU: its matrix products are about 200 times slower than in bf16 there: "
    "use bf16, or a GPU"
)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a GPT."""

    vocab_size: int
    """Entries in the token table (V)."""
    seq_len: int
    """Tokens in a sequence (T)."""
    num_layers: int
    """Transformer blocks (L)."""
    num_heads: int
    """Attention heads per block (H)."""
    d_model: int
    """Numbers that describe one token inside the model (D)."""
    d_ff: int | None = None
    """Width of the hidden layer of the MLP (F); left out, it is 4 x d_model."""
    bias: bool = True
    """Whether linear layers and layer norms add a bias."""
    tied_head: bool = True
    """Whether the table that turns tokens into vectors also turns vectors into scores."""
    activation: Literal["gelu", "gelu_tanh"] = "gelu"
    """The MLP's bend: exact GELU, or the tanh approximation that OpenAI's GPT-2 weights need."""

    def __post_init__(self) -> None:
        _check_positive(self, "vocab_size", "seq_len", "num_layers", "num_heads", "d_model")
        if self.d_ff is not None:
            _check_positive(self, "d_ff")
        if self.d_model % self.num_heads:
            lower = self.d_model - self.d_model % self.num_heads
            raise ValueError(
                f"d_model({self.d_model}) / num_heads({self.num_heads}) = "
                f"{self.d_model / self.num_heads:.2f}, but every head needs the same whole number "
                f"of dims: use d_model {lower or self.num_heads} or {lower + self.num_heads}, "
                "or another num_heads"
            )

    @property
    def head_size(self) -> int:
        """Dims of one attention head (K)."""
        return self.d_model // self.num_heads

    @property
    def mlp_size(self) -> int:
        """Width of the MLP's hidden layer (F), with the default filled in."""
        return 4 * self.d_model if self.d_ff is None else self.d_ff


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the ranks are arranged: dp x pp x tp of them, and what else is cut up."""

    dp: int | None = None
    """Data-parallel replicas of the model; left out, all ranks that pp and tp leave over."""
    pp: int = 1
    """Pipeline stages: the layers are cut into so many groups."""
    tp: int = 1
    """Tensor parallel: every layer is cut into so many parts."""
    sp: bool = False
    """Sequence parallel: between the parts of a layer, each tp rank keeps T/tp tokens."""
    virtual_stages: int = 1
    """Groups of layers per pipeline rank (v); more than one need the interleaved schedule."""
    stage_layers: tuple[int, ...] | None = None
    """Layers of each of the pp x virtual_stages groups; left out, they are equal."""
    schedule: Literal["gpipe", "1f1b", "interleaved", "zb_h1"] = "1f1b"
    """In which order a pipeline rank works on its micro-batches."""
    zero: Literal[0, 1, 2, 3] = 0
    """ZeRO stage: 1 cuts the optimizer's state over dp, 2 also gradients, 3 also parameters."""
    recompute: Literal["none", "selective", "full"] = "none"
    """What backward computes anew instead of remembering: attention cores, or whole blocks."""

    def __post_init__(self) -> None:
        if self.dp is not None:
            _check_positive(self, "dp")
        _check_positive(self, "pp", "tp", "virtual_stages")
        stages = self.pp * self.virtual_stages
        if self.virtual_stages > 1 and self.pp == 1:
            raise ValueError(
                f"virtual_stages is {self.virtual_stages}, but pp is 1: a pipeline of one rank has "
                "nothing to interleave: set virtual_stages to 1 or pp to 2 or more"
            )
        if (self.schedule == "interleaved") != (self.virtual_stages > 1):
            raise ValueError(
                f"schedule is {self.schedule} and virtual_stages {self.virtual_stages}, but the "
                "interleaved schedule, and it alone, works on several virtual stages: set "
                "schedule to interleaved and virtual_stages to 2 or more, or neither"
            )
        if self.stage_layers is not None:
            if len(self.stage_layers) != stages:
                raise ValueError(
                    f"stage_layers has {len(self.stage_layers)} numbers, but pp({self.pp}) x "
                    f"virtual_stages({self.virtual_stages}) = {stages} stages: give {stages}"
                )
            if min(self.stage_layers) < 1:
                raise ValueError(
                    f"stage_layers is {self.stage_layers}, but every stage needs a layer: use "
                    "numbers from 1 on, or fewer stages"
                )
        if self.sp and self.tp == 1:
            raise ValueError(
                "sp is on, but tp is 1: sequence parallelism cuts the sequence over the tp ranks: "
                "set tp to 2 or more, or sp to False"
            )
        if self.schedule == "zb_h1" and self.zero >= 2:
            raise ValueError(
                f"schedule zb_h1 with zero {self.zero}: zero 2 and 3 send a layer's gradient away "
                "after each micro-batch, but the zero-bubble schedule finishes it in two halves "
                "that overlap with the next micro-batch: use zero 1, or schedule 1f1b"
            )


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The text to learn from."""

    corpus: str | None = None
    """Folder with .txt .md .py .jsonl .jsonl.gz files; left out, the Python standard library."""
    val_fraction: float = 0.05
    """Share of the text that is held out for validation (between 0 and 0.5)."""

    def __post_init__(self) -> None:
        if self.corpus is not None and not self.corpus.strip():
            raise ValueError(
                "corpus is an empty string: name a folder, or leave it out to use the Python "
                "standard library"
            )
        if not 0 < self.val_fraction <= 0.5:
            raise ValueError(
                f"val_fraction is {self.val_fraction}, but it is a share of the text: use more "
                "than 0 and at most 0.5, for example 0.05"
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the model is trained."""

    steps: int
    """Optimizer steps."""
    global_batch: int
    """Sequences per step, over all ranks together."""
    micro_batch: int
    """Sequences that one rank sends through the model at once (memory; not the result)."""
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    """Type of the weights that compute; bf16 and fp16 keep float32 master weights (fp16: GPU)."""
    grad_dtype: Literal["float32", "bf16"] = "float32"
    """Type in which bf16 and fp16 runs add up and send gradients (bf16 halves the traffic)."""
    lr: float
    """Highest learning rate, reached after the warm-up."""
    min_lr_fraction: float = 0.1
    """Learning rate of the last step, as a share of `lr` (0 to 1)."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from 0 to `lr`."""
    lr_schedule: Literal["cosine", "wsd"] = "cosine"
    """After the warm-up: half a cosine, or stable and then a straight decay (wsd)."""
    decay_fraction: float = 0.2
    """Share of all steps that the decay of wsd takes (0 to 1)."""
    weight_decay: float = 0.1
    """AdamW's pull of the matrices towards zero, per step and unit of lr."""
    beta1: float = 0.9
    """AdamW's memory of the gradient (0 to 1)."""
    beta2: float = 0.95
    """AdamW's memory of the squared gradient (0 to 1)."""
    grad_clip: float = 1.0
    """Longest gradient (norm over all parameters) that is used uncut."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """What to do when loss or gradient is infinite or no number: stop, or leave the step out."""
    bucket_mib: float = 4.0
    """Gradients travel in buckets of about this size (MiB), while backward still runs."""
    seed: int = 1234
    """Fixes the initial weights, the order of the data and the sample."""
    val_every: int = 100
    """Steps between two validations; there is always one before the first and after the last."""
    val_sequences: int = 64
    """Held-out sequences per validation, over all ranks together."""
    log_every: int = 10
    """Steps between two printed lines (metrics.jsonl has every step)."""
    sample_prompt: str = "def __init__(self,"
    """Text that the trained model continues at the end (without a space after the last word)."""
    sample_tokens: int = 64
    """Tokens to generate at the end."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the tensors live; auto takes a GPU if there is one."""
    backend: Literal["auto", "gloo", "nccl"] = "auto"
    """Who carries the collectives; auto takes nccl for GPUs and gloo for CPUs."""
    compile: bool = False
    """Whether torch.compile translates the blocks (needs a C++ compiler on a CPU)."""
    checkpoint_every: int = 0
    """Steps between two checkpoints; 0 saves only at the end and when the job is told to stop."""
    keep_checkpoints: int = 2
    """Checkpoints that are kept; older ones are deleted when a newer one is complete."""
    timeout_s: float = 600.0
    """How long a rank waits for the others before it gives up and says for whom (seconds)."""
    tensorboard: bool = True
    """Whether to write TensorBoard scalars beside metrics.jsonl."""
    slow: str = ""
    """Bottlenecks to plant, by name, with commas between: the same result, only later (lab 05)."""

    def __post_init__(self) -> None:
        _check_positive(self, "steps", "global_batch", "micro_batch", "lr", "grad_clip")
        _check_positive(self, "val_every", "val_sequences", "log_every")
        _check_positive(self, "bucket_mib", "keep_checkpoints", "timeout_s")
        for name in ("warmup_steps", "weight_decay", "seed", "sample_tokens", "checkpoint_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but it cannot be negative")
        for name, of in (("min_lr_fraction", "lr"), ("decay_fraction", "all steps")):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, but it is a share of {of}: use 0 to 1"
                )
        if self.precision == "fp16" and self.device == "cpu":
            raise ValueError(FP16_ON_A_CPU)
        if self.precision == "float32" and self.grad_dtype != "float32":
            raise ValueError(
                f"grad_dtype is {self.grad_dtype}, but precision is float32: gradients as fine as "
                "the weights are what float32 is for: set precision to bf16, or leave grad_dtype"
            )
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, but a running mean needs a value from 0 "
                    "up to, not including, 1"
                )
        if self.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps({self.warmup_steps}) >= steps({self.steps}): the learning rate "
                "would never reach its full value: shorten the warm-up or train for more steps"
            )
        if self.global_batch % self.micro_batch:
            raise ValueError(
                f"global_batch({self.global_batch}) / micro_batch({self.micro_batch}) = "
                f"{self.global_batch / self.micro_batch:.2f}, not a whole number of "
                "micro-batches: make global_batch a multiple of micro_batch"
            )
        planted_bottlenecks(self.slow)
        if self.device == "cpu" and self.backend == "nccl":
            raise ValueError(
                "backend nccl carries only GPU tensors, but device is cpu: use gloo or auto"
            )


@dataclass(frozen=True, kw_only=True)
class ProfileConfig:
    """What of the run is recorded, step by step, operation by operation."""

    steps: str | None = None
    """Record the steps FIRST:LAST, both included, on every rank; the next one's memory, too."""
    stack: bool = False
    """Whether to record also the calling lines of Python and all allocations (for TensorBoard)."""

    def __post_init__(self) -> None:
        if self.steps is not None and not re.fullmatch(r"[1-9][0-9]*(:[1-9][0-9]*)?", self.steps):
            raise ValueError(
                f"profile.steps is {self.steps!r}, but it must be FIRST:LAST, for example 5:8 (or "
                "one number); steps count from 1"
            )
        if self.steps is not None and len(self.range) == 0:
            raise ValueError(f"profile.steps is {self.steps}, but the last comes before the first")

    @property
    def range(self) -> range:
        """The steps to record; empty if none are."""
        if self.steps is None:
            return range(0)
        first, _, last = self.steps.partition(":")
        return range(int(first), int(last or first) + 1)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides a training run."""

    name: str
    """First part of the run folder's name."""
    model: ModelConfig
    """What is trained."""
    layout: Layout = field(default_factory=Layout)
    """On which ranks."""
    data: DataConfig = field(default_factory=DataConfig)
    """On what text."""
    train: TrainConfig
    """In which way."""
    profile: ProfileConfig = field(default_factory=ProfileConfig)
    """What of it is recorded."""

    def __post_init__(self) -> None:
        recorded = self.profile.range
        if len(recorded) and recorded[-1] > self.train.steps:
            raise ValueError(
                f"profile.steps is {self.profile.steps}, but the run has {self.train.steps} steps: "
                "record earlier ones, or train for more"
            )
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise ValueError(
                f"name is {self.name!r}, but it becomes a folder: use letters, digits, dots, "
                "dashes and underscores, and begin with a letter or a digit"
            )

    def to_json(self) -> str:
        """Return the configuration as indented JSON, every field written out."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @staticmethod
    def from_json(text: str) -> "RunConfig":
        """Rebuild the configuration that `to_json` wrote.

        Raises:
            ValueError: the text is no JSON object, a key is unknown or missing, or a value has the
                wrong type or does not pass the checks; the message names the key.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"the configuration is not valid JSON: {error}") from None
        return _build(RunConfig, values, "")


BOTTLENECKS = {
    "loader": "every batch is read from a slow disk when it is needed, and not ahead",
    "optimizer": "AdamW one small operation at a time, parameter by parameter",
    "tiny_ops": "the MLP works on eight tokens at a time",
    "sync": "the host reads back whether each gradient is finite, one by one",
    "attention": "attention stores the T x T weights, and masks and normalises them step by step",
    "heads": "a Python loop over the attention heads",
    "reduce": "every gradient is all-reduced on its own, after every micro-batch",
    "bucket": "gradients travel in buckets of a few KiB",
    "overlap": "gradients are sent only when the whole backward pass is over",
    "recompute": "every block is computed a second time for backward",
    "stages": "the first pipeline stage gets as many layers as it can",
    "micro": "as few micro-batches as the pipeline has stages",
    "checkpoint": "a checkpoint after every step, written while all wait",
    "straggler": "the last rank works at half the speed of the others",
    "fp32": "products in float32 on a machine that is faster in bf16",
    "grain": "sizes that the hardware's units do not divide",
}
"""What --slow can plant, by name."""


def planted_bottlenecks(names: str) -> tuple[str, ...]:
    """Return the names in a list such as "loader,optimizer".

    Raises:
        ValueError: a name is unknown; the message lists those that there are.
    """
    found = tuple(name.strip() for name in names.split(",") if name.strip())
    for name in found:
        if name not in BOTTLENECKS:
            raise ValueError(f"slow names {name!r}, but there are only: {', '.join(BOTTLENECKS)}")
    return found


def _check_positive(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise ValueError(f"{name} is {value}, but it must be greater than 0")


def _build(cls: Any, values: Any, where: str) -> Any:
    """Build dataclass `cls` from parsed JSON; `where` is the dotted prefix for messages."""
    if not isinstance(values, dict):
        raise ValueError(f"{where.rstrip('.') or 'the configuration'} should be a JSON object")
    hints = typing.get_type_hints(cls)
    unknown = [where + key for key in values if key not in hints]
    missing = [where + key for key in hints if key not in values]
    if unknown or missing:
        # A misspelt key is both: unknown under its wrong name and missing under its right one.
        problems = [f"unknown: {', '.join(unknown)}"] if unknown else []
        problems += [f"missing: {', '.join(missing)}"] if missing else []
        raise ValueError(f"the configuration's keys do not fit ({'; '.join(problems)})")
    arguments = {}
    for key, hint in hints.items():
        if dataclasses.is_dataclass(hint):
            arguments[key] = _build(hint, values[key], f"{where}{key}.")
        else:
            arguments[key] = _checked(values[key], hint, where + key)
    return cls(**arguments)


def _checked(value: Any, hint: Any, where: str) -> Any:
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise ValueError(
                f"{where} is {value!r}, but it must be one of {', '.join(map(str, choices))}"
            )
        return value
    if tuple[int, ...] in typing.get_args(hint) and isinstance(value, list):
        return tuple(_checked(entry, int, f"{where}[{i}]") for i, entry in enumerate(value))
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    # JSON writes 1.0 as 1 at times, and Python counts True as an int: neither is what is meant.
    if float in allowed and type(value) is int:
        return float(value)
    if type(value) not in allowed:
        names = " or ".join(
            "null" if t is type(None) else str(getattr(t, "__name__", t)) for t in allowed
        )
        raise ValueError(f"{where} is {value!r}, but it must be {names}")
    return value
