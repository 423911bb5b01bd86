"""A model is the same model in Hugging Face's hands: logits, gradients, text, and back again."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from course_lib import cli
from course_lib.checkpoint import save_weights
from course_lib.config import ModelConfig
from course_lib.model.gpt import GPT, summed_token_loss
from course_lib.model.hf import END_OF_TEXT, export_gpt2, import_gpt2
from course_lib.presets import tiny
from course_lib.runlog import create_run_dir, read_config
from course_lib.train.corpus import END_OF_DOCUMENT, load_tokenizer, prepare_data
from course_lib.train.sample import generate, load_model

TIED = ModelConfig(vocab_size=512, seq_len=48, num_layers=3, num_heads=4, d_model=32)
CONFIGS = {
    "tied": TIED,
    "untied": replace(TIED, tied_head=False),
    "no_bias": replace(TIED, bias=False),
    "gelu_tanh": replace(TIED, activation="gelu_tanh"),
    "odd_vocab": replace(TIED, vocab_size=509, d_ff=72, num_heads=2),
    "all": replace(TIED, tied_head=False, bias=False, activation="gelu_tanh", vocab_size=397),
}
every_model = pytest.mark.parametrize("name", CONFIGS)
# Written down a second time and in another way than in hf.py: one table cannot prove itself.
HF_GRADIENT_OF = {
    "wte": "tokens",
    "wpe": "positions",
    "ln_f": "norm",
    "ln_1": "norm1",
    "ln_2": "norm2",
    "c_attn": "attention.qkv",
    "attn.c_proj": "attention.out",
    "c_fc": "mlp.up",
    "mlp.c_proj": "mlp.down",
}


@pytest.fixture(scope="module")
def hf() -> Any:
    """transformers, imported only when needed (it takes seconds) and kept off the network."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import transformers

    transformers.utils.logging.disable_progress_bar()
    return transformers


@pytest.fixture(scope="module")
def tokenizer(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    root = tmp_path_factory.mktemp("data")
    return load_tokenizer(prepare_data(str(small_corpus), 390, root, progress=lambda line: None))


def random_model(config: ModelConfig, seed: int = 0) -> GPT:
    """A model in which every parameter, biases and norms too, matters."""
    torch.manual_seed(seed)
    model = GPT(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_scale = parameter.dim() == 1 and name.endswith("weight")
            parameter.normal_(mean=float(is_scale), std=0.2)
    return model


def random_tokens(config: ModelConfig) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(config.vocab_size, (3, config.seq_len), generator=generator)


def load_hf(hf: Any, folder: Path) -> Any:
    model, told = hf.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(told.values()), told  # no key missing, unexpected or of another shape
    assert type(model) is hf.GPT2LMHeadModel
    return model.eval()


@torch.no_grad()
def largest_difference(ours: GPT, theirs: Any, tokens: Tensor) -> float:
    return float((ours(tokens) - theirs(tokens).logits).abs().max())


@every_model
def test_same_logits(hf: Any, tokenizer: Tokenizer, tmp_path: Path, name: str) -> None:
    model = random_model(CONFIGS[name])
    folder = export_gpt2(model, tokenizer, tmp_path / "out" / "gpt")
    assert [path.name for path in folder.parent.iterdir()] == ["gpt"]  # nothing temporary is left
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1
    theirs = load_hf(hf, folder)
    tokens = random_tokens(model.config)
    assert model(tokens).std() > 0.5
    assert largest_difference(model, theirs, tokens) <= 1e-5
    theirs.set_attn_implementation("eager")
    assert largest_difference(model, theirs, tokens) <= 1e-5


@every_model
def test_same_gradients(hf: Any, tokenizer: Tokenizer, tmp_path: Path, name: str) -> None:
    model = random_model(CONFIGS[name]).double()
    theirs = load_hf(hf, export_gpt2(model, tokenizer, tmp_path / "gpt"))
    tokens = random_tokens(model.config)
    summed_token_loss(model(tokens[:, :-1]), tokens[:, 1:]).backward()
    summed_token_loss(theirs(tokens[:, :-1]).logits, tokens[:, 1:]).backward()
    gradients = {}
    for their_name, parameter in theirs.named_parameters():
        assert parameter.dtype is torch.float64 and parameter.grad is not None
        if their_name == "lm_head.weight":
            our_name, gradient = "head.weight", parameter.grad
        else:
            module, _, part = their_name.removeprefix("transformer.").rpartition(".")
            layer, gradient = theirs.get_submodule(their_name.rpartition(".")[0]), parameter.grad
            if type(layer).__name__ == "Conv1D" and part == "weight":
                gradient = gradient.T
            (ours,) = [o for t, o in HF_GRADIENT_OF.items() if f".{module}".endswith(f".{t}")]
            block = f"blocks.{module.split('.')[1]}." if module.startswith("h.") else ""
            our_name = f"{block}{ours}.{part}"
        gradients[our_name] = gradient
    for our_name, parameter in model.named_parameters():
        torch.testing.assert_close(gradients[our_name], parameter.grad, rtol=1e-9, atol=1e-9)
    more = set(gradients) - set(dict(model.named_parameters()))
    assert all(our_name.endswith(".bias") for our_name in more) and bool(more) != model.config.bias


@every_model
def test_same_greedy_text(hf: Any, tokenizer: Tokenizer, tmp_path: Path, name: str) -> None:
    model = random_model(CONFIGS[name])
    folder = export_gpt2(model, tokenizer, tmp_path / "gpt")
    theirs, their_tokenizer = load_hf(hf, folder), hf.AutoTokenizer.from_pretrained(folder)
    prompt = "the gradient waits for"
    given = their_tokenizer(prompt, return_tensors="pt")
    options = {"max_new_tokens": 20, "do_sample": False}
    text = their_tokenizer.decode(theirs.generate(**given, **options)[0], skip_special_tokens=True)
    assert text == generate(model, tokenizer, prompt, 20, temperature=0)

    theirs.generation_config.eos_token_id = None  # all 20 tokens, also past the end of a text
    tokens = tokenizer.encode(prompt).ids
    for _ in range(20):
        tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    assert theirs.generate(**given, **options)[0].tolist() == tokens
    assert len(set(tokens[-20:])) > 5  # not one word again and again


@every_model
def test_round_trip_is_bit_equal(tokenizer: Tokenizer, tmp_path: Path, name: str) -> None:
    model = random_model(CONFIGS[name])
    back, their_tokenizer = import_gpt2(export_gpt2(model, tokenizer, tmp_path))
    assert back.config == model.config
    assert their_tokenizer.to_str() == tokenizer.to_str()
    weights = dict(back.named_parameters())
    assert set(weights) == set(dict(model.named_parameters()))
    for our_name, parameter in model.named_parameters():
        assert torch.equal(parameter, weights[our_name]), our_name


def test_tokenizer_and_ends(hf: Any, tokenizer: Tokenizer, tmp_path: Path) -> None:
    folder = export_gpt2(random_model(TIED), tokenizer, tmp_path)
    theirs = hf.AutoTokenizer.from_pretrained(folder)
    for text in (
        "the loss , it is n't low .",
        " two  spaces\n\ttab",
        "é 中 🙂",
        f"a{END_OF_TEXT}b",
        "",
    ):
        assert theirs(text)["input_ids"] == tokenizer.encode(text).ids
        assert theirs.decode(theirs(text)["input_ids"]) == text
    assert END_OF_TEXT == END_OF_DOCUMENT == theirs.eos_token == theirs.bos_token
    assert theirs.model_max_length == TIED.seq_len
    end = tokenizer.token_to_id(END_OF_TEXT)
    model = load_hf(hf, folder)
    assert model.config.eos_token_id == model.generation_config.eos_token_id == end
    assert model.config.resid_pdrop == model.config.embd_pdrop == model.config.attn_pdrop == 0


def test_weights_keep_their_type(hf: Any, tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = random_model(TIED).bfloat16()
    theirs = load_hf(hf, export_gpt2(model, tokenizer, tmp_path))
    assert theirs.transformer.wte.weight.dtype is torch.bfloat16
    assert torch.equal(theirs.transformer.wte.weight, next(model.parameters()))


@pytest.mark.parametrize("activation", ["gelu_new", "gelu", "gelu_pytorch_tanh"])
@pytest.mark.parametrize(
    ("tied", "whole"),
    # GPT2Model alone is saved without prefix, and without a head, so there is none to untie.
    [(True, True), (True, False), (False, True)],
    ids=["tied", "without_prefix", "untied"],
)
def test_their_model_is_read(
    hf: Any, tokenizer: Tokenizer, tmp_path: Path, tied: bool, whole: bool, activation: str
) -> None:
    torch.manual_seed(3)
    config = hf.GPT2Config(
        vocab_size=411,
        n_positions=40,
        n_embd=24,
        n_layer=2,
        n_head=3,
        n_inner=50,
        activation_function=activation,
        initializer_range=0.3,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=0,
    )
    theirs = hf.GPT2LMHeadModel(config).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    (theirs if whole else theirs.transformer).save_pretrained(tmp_path)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ours, _ = import_gpt2(tmp_path)
    assert ours.config.tied_head == tied and ours.config.mlp_size == 50
    assert largest_difference(ours, theirs, random_tokens(ours.config)) <= 1e-5


def edit_tensors(folder: Path, **changes: Tensor | None) -> None:
    """Set tensors of model.safetensors, or delete those that are None."""
    tensors = load_file(folder / "model.safetensors") | changes
    left = {key: tensor for key, tensor in tensors.items() if tensor is not None}
    save_file(left, folder / "model.safetensors")


def edit_config(folder: Path, **changes: object) -> None:
    values = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(values))


def test_old_files_carry_masks_and_the_tied_head(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """OpenAI's own model.safetensors does."""
    model = random_model(TIED)
    folder = export_gpt2(model, tokenizer, tmp_path)
    mask = {"transformer.h.0.attn.bias": torch.ones(1, 1, 48, 48).tril()}
    mask |= {"transformer.h.0.attn.masked_bias": torch.tensor(-1e4)}
    edit_tensors(folder, **mask, **{"lm_head.weight": next(model.parameters()).detach().clone()})
    back, _ = import_gpt2(folder)
    tokens = random_tokens(TIED)
    assert torch.equal(back(tokens), model(tokens))
    edit_tensors(folder, **{"lm_head.weight": torch.ones(512, 32)})
    with pytest.raises(ValueError, match="lm_head.weight and wte.weight differ"):
        import_gpt2(folder)


def test_biases_learned_elsewhere_are_kept(hf: Any, tokenizer: Tokenizer, tmp_path: Path) -> None:
    folder = export_gpt2(random_model(CONFIGS["no_bias"]), tokenizer, tmp_path / "out")
    theirs = load_hf(hf, folder)
    nn.init.normal_(theirs.transformer.h[1].mlp.c_fc.bias)
    theirs.save_pretrained(tmp_path / "in")
    tokenizer.save(str(tmp_path / "in" / "tokenizer.json"))
    back, _ = import_gpt2(tmp_path / "in")
    assert back.config.bias
    assert largest_difference(back, theirs, random_tokens(back.config)) <= 1e-5


LN = "transformer.h.1.ln_1.weight"
REFUSED = {
    "no_config": (
        lambda f: (f / "config.json").unlink(),
        "config.json is missing: save_pretrained",
    ),
    "no_weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "no_tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    "no_json": (lambda f: (f / "config.json").write_text("{"), "config.json is not valid JSON"),
    "no_object": (lambda f: (f / "config.json").write_text("[]"), "model_type is None"),
    "llama": (lambda f: edit_config(f, model_type="llama"), "model_type is 'llama', but only"),
    "relu": (lambda f: edit_config(f, activation_function="relu"), "activation_function is 'relu'"),
    "by_layer": (
        lambda f: edit_config(f, scale_attn_by_inverse_layer_idx=True),
        "scale_attn_by_inverse_layer_idx is True, but our model computes as with False",
    ),
    "unscaled": (lambda f: edit_config(f, scale_attn_weights=False), "scale_attn_weights is False"),
    "cross": (lambda f: edit_config(f, add_cross_attention=True), "add_cross_attention is True"),
    "epsilon": (lambda f: edit_config(f, layer_norm_epsilon=1e-6), "layer_norm_epsilon is 1e-06"),
    "quantised": (lambda f: edit_config(f, quantization_config={}), "quantization_config is {}"),
    "no_shape": (lambda f: edit_config(f, n_embd=None), "n_embd is None, but it must be a whole"),
    "inner": (lambda f: edit_config(f, n_inner="72"), "n_inner is '72', but it must be a whole"),
    "heads": (lambda f: edit_config(f, n_head=5), "config.json: d_model(32) / num_heads(5)"),
    "more_layers": (lambda f: edit_config(f, n_layer=4), "h.3.ln_1.weight is missing; h.3.ln_1.b"),
    "fewer_layers": (lambda f: edit_config(f, n_layer=2), "is unknown"),
    "untied": (lambda f: edit_config(f, tie_word_embeddings=False), "lm_head.weight is missing"),
    "shape": (
        lambda f: edit_tensors(f, **{LN: torch.ones(31)}),
        "model.safetensors does not fit config.json beside it: h.1.ln_1.weight is (31,) and "
        "should be (32,)",
    ),
    "damaged": (lambda f: os.truncate(f / "model.safetensors", 999), "safetensors is damaged"),
    "tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer.json is damaged"),
    "small_table": (
        lambda f: (
            edit_config(f, vocab_size=20),
            edit_tensors(f, **{"transformer.wte.weight": torch.ones(20, 32)}),
        ),
        "but the model's token table has 20 rows",
    ),
    "no_end": (
        lambda f: (f / "tokenizer.json").write_text(
            (f / "tokenizer.json").read_text().replace(END_OF_TEXT, "<end>")
        ),
        "tokenizer.json has no <|endoftext|>",
    ),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_what_cannot_be_read_is_refused_by_name(
    tokenizer: Tokenizer, tmp_path: Path, mistake: str
) -> None:
    change, expected = REFUSED[mistake]
    folder = export_gpt2(random_model(TIED), tokenizer, tmp_path / "gpt")
    change(folder)
    with pytest.raises(ValueError) as refusal:
        import_gpt2(folder)
    assert expected in str(refusal.value)
    assert str(folder) in str(refusal.value)


def test_export_refuses(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = random_model(TIED)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    for taken in (tmp_path / "full", tmp_path / "full" / "thesis.txt"):
        with pytest.raises(ValueError, match=f"{taken} exists and is not empty: name a new folder"):
            export_gpt2(model, tokenizer, taken)
    with pytest.raises(ValueError, match="has ids up to .* the model's token table has 100 rows"):
        export_gpt2(random_model(replace(TIED, vocab_size=100)), tokenizer, tmp_path / "new")
    del model.blocks["1"]
    with pytest.raises(ValueError, match=r"only a part of one: blocks\.1\.norm1\.weight, "):
        export_gpt2(model, tokenizer, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


@pytest.fixture
def run_dir(tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder with a checkpoint, among the workshop's runs."""
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path / "base"))
    folder = create_run_dir(replace(tiny(), model=TIED))
    (folder / "tokenizer.json").write_text(tokenizer.to_str())
    save_weights(folder, 20, dict(random_model(TIED).named_parameters()))
    return folder


def test_commands_there_and_back(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", run_dir.name, str(tmp_path / "by_name")]) == 0
    assert f"from_pretrained('{tmp_path / 'by_name'}')" in capsys.readouterr().out
    assert cli.main(["export", str(run_dir), str(tmp_path / "by_path")]) == 0
    files = sorted((tmp_path / "by_name").iterdir())
    assert len(files) == 5
    for path in files:
        assert path.read_bytes() == (tmp_path / "by_path" / path.name).read_bytes()

    capsys.readouterr()
    for words, stem in (([], "by_name-"), (["--name", "gpt2"], "gpt2-")):
        assert cli.main(["import", str(tmp_path / "by_name"), *words]) == 0
        (told, how) = capsys.readouterr().out.splitlines()
        imported = Path(how.split("'")[1])
        assert imported.parent == run_dir.parent and imported.name.startswith(stem)
        assert str(imported) in told
        assert read_config(imported).model == TIED
        ours, theirs = load_model(imported), load_model(run_dir)
        assert ours[1].to_str() == theirs[1].to_str()
        for mine, other in zip(ours[0].parameters(), theirs[0].parameters(), strict=True):
            assert torch.equal(mine, other)


def test_commands_refuse(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for args, words in (
        (["export", run_dir.name + "x", "out"], f"Did you mean {run_dir.name}?"),
        (["export", "nothing", "out"], f"neither here nor in {run_dir.parent}"),
        (["export", run_dir.name, str(run_dir)], "exists and is not empty"),
        (["import", str(tmp_path / "nowhere")], "config.json is missing"),
    ):
        assert cli.main(args) == 2
        assert words in capsys.readouterr().err
    assert [path.name for path in run_dir.parent.iterdir()] == [run_dir.name]
