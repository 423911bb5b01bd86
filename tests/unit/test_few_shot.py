"""The miniature of few-shot learning: texts by the rules, a training that resumes, real answers.

What the committed weights can do is held against slides/data/few_shot.json.
"""

import json
import subprocess
import sys

import pytest
import torch

from course_lib.train import few_shot
from course_lib.train.few_shot_prompt import ask, read_prompt
from slides import miniatures

PRINTED = few_shot.LETTERS + few_shot.SIGNS
BY_HAND = {
    "remove the signs": "abcd",
    "reverse": "dcba",
    "turn left": "bcda",
    "turn right": "dabc",
    "swap pairs": "badc",
    "keep the signs": ".!/d",
    "swap inner": "acbd",
}


def drawn(count, seed=3, **options):
    return few_shot.draw_texts(count, torch.Generator().manual_seed(seed), **options)


@pytest.fixture(scope="module")
def trained():
    return few_shot.load()


def test_each_rule_does_what_its_name_says():
    rules = few_shot.RULES | few_shot.NEW_RULES
    said = {rule: "".join("a.b!c/d"[place] for place in rules[rule]) for rule in rules}
    assert said == BY_HAND


@pytest.mark.parametrize("number, rule", list(enumerate(few_shot.RULES)))
def test_every_example_of_a_text_follows_its_rule(number, rule):
    for text in drawn(20, rule=number).tolist():
        assert text[0] in (few_shot.NO_NAME, few_shot.FIRST_NAME + number)
        for start in range(1, few_shot.SEQ_LEN, few_shot.EXAMPLE):
            word, answer = text[start : start + 7], text[start + 8 : start + 12]
            assert [PRINTED[n] in few_shot.LETTERS for n in word] == [True, False] * 3 + [True]
            assert answer == [word[place] for place in few_shot.RULES[rule]]
            assert (text[start + 7], text[start + 12]) == (few_shot.ARROW, few_shot.END)


def test_names_stand_in_half_of_the_texts_unless_told():
    first = drawn(4000)[:, 0]
    assert 0.45 < (first == few_shot.NO_NAME).double().mean() < 0.55
    assert set(drawn(50, named=False)[:, 0].tolist()) == {few_shot.NO_NAME}
    assert few_shot.NO_NAME not in drawn(50, named=True)[:, 0]


def test_only_answers_count_for_the_loss_and_for_what_is_right():
    tokens = drawn(8)
    places = few_shot.answer_places(tokens.shape[1])
    assert len(places) == few_shot.EXAMPLES * few_shot.ANSWER
    sure = torch.full((*tokens.shape, few_shot.VOCAB_SIZE), 0.0)
    for place in places:  # predicted one place before
        sure[torch.arange(8), place - 1, tokens[:, place]] = 50.0
    assert few_shot.answer_loss(sure, tokens) < 1e-6
    assert few_shot.right_answers(sure, tokens).all()
    sure[2, places[5] - 1] = 0.0
    sure[2, places[5] - 1, (tokens[2, places[5]] + 1) % few_shot.VOCAB_SIZE] = 1.0
    wrong = ~few_shot.right_answers(sure, tokens)
    assert wrong.nonzero().tolist() == [[2, 1]], "one letter wrong: the answer is wrong"


def test_a_training_that_was_put_away_ends_in_the_same_weights():
    def begin():
        return few_shot.Training(few_shot.build(1, 16, seed=5), steps=6, seed=1)

    whole, first, second = begin(), begin(), begin()
    losses = [whole.step() for _ in range(6)]
    halves = [first.step() for _ in range(3)]
    second.resume(first.state())
    assert halves + [second.step() for _ in range(3)] == losses
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_weights_are_kept_and_come_back(tmp_path):
    model = few_shot.build(2, 16, seed=1).eval()
    few_shot.save(model, tmp_path / "weights")
    tokens = drawn(2)
    assert torch.equal(few_shot.load(tmp_path / "weights")(tokens), model(tokens))


@pytest.mark.parametrize("content", [None, b"nothing"])
def test_a_file_without_a_model_is_named_with_the_remedy(tmp_path, content):
    path = tmp_path / "weights"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="weights holds no model .* slides.miniatures"):
        few_shot.load(path)


def test_the_committed_weights_do_what_the_lecture_s_data_says(trained):
    rows = json.loads(miniatures.FEW_SHOT.read_text())["rows"]
    (row,) = [each for each in rows if (each["num_layers"], each["d_model"]) == (2, 48)]
    for named, key in ((False, "without_name"), (True, "with_name")):
        again = few_shot.accuracy(trained, named=named)
        assert again == pytest.approx(row[key], abs=0.02)  # processors round differently
    assert few_shot.TRAINED.stat().st_size < 400_000


def test_the_lecture_s_data_was_made_with_the_settings_of_today():
    for path, wanted in (
        (miniatures.FEW_SHOT, miniatures.MINIATURES),
        (miniatures.PROMPT_TUNING, miniatures.WAYS),
    ):
        assert list(miniatures.rows_of(path, wanted)) == list(wanted), "run: slides.miniatures"


def test_a_question_alone_leaves_all_rules_open_and_examples_decide(trained):
    question = "e/f-g.h >"
    alone = ask(trained, question).by_rule
    assert all(0.05 < alone[rule] < 0.35 for rule in few_shot.RULES) and alone["swap inner"] < 0.05
    examples = ["a.b!c/d > dcba\n", "j-i.a/b > baij\n"]
    by_count = [
        ask(trained, "".join(examples[:count]) + question).by_rule["reverse"] for count in range(3)
    ]
    assert by_count[0] < by_count[1] < by_count[2] and by_count[2] > 0.8


@pytest.mark.parametrize("rule, right", [("reverse", "hgfe"), ("turn left", "fghe")])
def test_a_name_tells_the_rule_without_an_example(trained, rule, right):
    found = ask(trained, f"{rule}:\ne/f-g.h >")
    assert found.text == right and found.probability > 0.9
    assert found.by_rule[rule] == pytest.approx(found.probability, rel=1e-3)
    first, *_, last = str(found).splitlines()
    assert first.startswith(f"{right}   ") and last.startswith("swap inner")


@pytest.mark.parametrize(
    "prompt, message",
    [
        ("", "the prompt has 0 lines of words"),
        ("a.b!c/d > abcd\n" * 7, "the prompt has 7 lines .* 5 examples at most"),
        ("backwards:\na.b!c/d >", "no rule is called 'backwards': use one of remove the signs"),
        ("a.b >", "line 'a.b >': before the > there must be four letters"),
        ("a.b!c/d", "before the > there must be"),
        ("a.b!c/d > dcba", "the last line is the question"),
        ("a.b!c/d > dc\na.b!c/d >", "an example ends with its answer, 4 letters"),
    ],
)
def test_a_prompt_that_cannot_be_read_is_named_with_its_line(prompt, message):
    with pytest.raises(ValueError, match=message):
        read_prompt(prompt)


def test_a_prompt_becomes_the_tokens_of_a_training_text():
    text = drawn(1, rule=1, named=True)[0, : 1 + 2 * few_shot.EXAMPLE]
    words = "".join(
        {few_shot.ARROW: " > ", few_shot.END: "\n"}.get(n) or PRINTED[n] for n in text[1:].tolist()
    )
    lines = words.splitlines()
    question = lines[1].split(">")[0] + ">"
    tokens, word = read_prompt(f"reverse:\n{lines[0]}\n{question}")
    assert tokens == text[: len(tokens)].tolist()
    assert tokens[-1] == few_shot.ARROW and tokens[-8:-1] == word


def test_what_was_cut_off_goes_on_and_what_is_there_is_not_made_again(
    tmp_path, monkeypatch, capsys
):
    small = miniatures.Miniature(name="small", num_layers=1, d_model=16, steps=5, lr=3e-3)
    monkeypatch.setattr(miniatures, "KEEP_EVERY", 3)
    monkeypatch.setattr(miniatures, "UNDER_WAY", tmp_path / "under_way")
    with pytest.raises(miniatures.OutOfTime):
        miniatures.train_miniature(small, lambda: True)
    (kept,) = (tmp_path / "under_way").iterdir()
    assert torch.load(kept, weights_only=True)["done"] == 3
    model = miniatures.train_miniature(small, lambda: False)
    whole = few_shot.Training(few_shot.build(1, 16, seed=0), steps=5, seed=1)
    while whole.done < 5:
        whole.step()
    for a, b in zip(model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)

    path = tmp_path / "few_shot.json"
    path.write_text(json.dumps({"rows": [miniatures.few_shot_row(small, model)]}))
    other = miniatures.Miniature(name="small", num_layers=1, d_model=16, steps=6, lr=3e-3)
    assert list(miniatures.rows_of(path, (small, other))) == [small]


def test_the_command_says_when_time_is_over(tmp_path):
    """Without weights there is always something to do; with 0 seconds it stops at the first."""
    code = "import sys, pathlib; from slides import miniatures as m; m.DATA = pathlib.Path('x');"
    code += "m.FEW_SHOT = m.DATA / 'f'; m.UNDER_WAY = m.DATA / 'u'; m.KEEP_EVERY = 1;"
    code += "sys.argv = ['m', '--seconds', '0']; sys.exit(m.main())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1, done.stderr
    assert "call it again and it goes on from here" in done.stdout
    assert len(list((tmp_path / "x" / "u").iterdir())) == 1
