"""Prompt tuning: the prompt is trained, the model is not; and the lecture's data is plausible."""

import copy
import json

import pytest
import torch

from course_lib.train import few_shot, prompt_tuning
from slides import miniatures

RULE = few_shot.RULES["reverse"]


@pytest.fixture(scope="module")
def model():
    return few_shot.load()


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_a_prompt_of_no_vectors_changes_nothing(model):
    tokens = prompt_tuning.questions(RULE, 4, seed=0, examples=3)
    nothing = torch.zeros(0, model.config.d_model)
    with torch.no_grad():
        torch.testing.assert_close(prompt_tuning.with_prompt(model, nothing, tokens), model(tokens))


def test_questions_have_no_name_and_follow_the_rule():
    for text in prompt_tuning.questions(RULE, 10, seed=0, examples=2).tolist():
        assert text[0] == few_shot.NO_NAME and len(text) == 1 + 2 * few_shot.EXAMPLE
        for start in (1, 1 + few_shot.EXAMPLE):
            assert text[start + 8 : start + 12] == [text[start + place] for place in RULE]


def test_tuning_trains_the_prompt_only_and_lowers_the_loss(model):
    before = copy.deepcopy(model)
    texts = prompt_tuning.questions(RULE, 64, seed=0)
    prompts = [
        prompt_tuning.tune_prompt(model, texts, length=4, steps=steps, seed=0) for steps in (0, 60)
    ]
    assert same(model, before)
    assert all(weight.requires_grad for weight in model.parameters())
    assert prompts[0].shape == (4, model.config.d_model)
    with torch.no_grad():
        first, last = (
            few_shot.answer_loss(prompt_tuning.with_prompt(model, prompt, texts), texts)
            for prompt in prompts
        )
    assert last < 0.8 * first


def test_fine_tuning_trains_a_copy(model):
    before = copy.deepcopy(model)
    texts = prompt_tuning.questions(few_shot.NEW_RULES["swap inner"], 64, seed=0)
    tuned = prompt_tuning.fine_tune(model, texts, steps=20, seed=0)
    assert same(model, before) and not same(tuned, before)
    with torch.no_grad():
        assert few_shot.answer_loss(tuned(texts), texts) < few_shot.answer_loss(model(texts), texts)


def test_the_lecture_s_data_counts_what_was_trained(model):
    rows = json.loads(miniatures.PROMPT_TUNING.read_text())["rows"]
    for row in rows:
        assert (
            row["trained"]
            == {
                "examples": 0,
                "prompt": row["size"] * model.config.d_model,
                "weights": sum(weight.numel() for weight in model.parameters()),
            }[row["kind"]]
        )
    untuned = [row for row in rows if row["kind"] == "examples"]
    for row in untuned:
        way = miniatures.Way(task=row["task"], kind="examples", size=row["size"])
        again = miniatures.prompt_tuning_row(way, model)["right"]
        assert again == pytest.approx(row["right"], abs=0.02)
