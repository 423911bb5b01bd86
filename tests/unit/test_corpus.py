"""From files to tokens: what is read, what is skipped and named, and how it is cached."""

import gzip
import json
from pathlib import Path

import pytest

from course_lib.parallel.launch import run_ranks
from course_lib.train.corpus import (
    END_OF_DOCUMENT,
    corpus_files,
    load_tokenizer,
    prepare_data,
    read_documents,
    read_summary,
    split_documents,
)
from course_lib.train.tokens import TokenFile


def test_kinds_of_files_and_what_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("ä text")
    (tmp_path / "sub" / "b.py").write_text("x = 1\n")
    (tmp_path / "c.md").write_text(" \n")
    (tmp_path / "d.txt").write_bytes(b"caf\xe9")
    (tmp_path / "e.jsonl").write_text(
        '{"text": "one"}\nnot json\n\n{"text": ""}\n{"text": "two"}\n'
    )
    with gzip.open(tmp_path / "f.jsonl.gz", "wt") as file:
        file.write(json.dumps({"text": "three"}))
    (tmp_path / "g.jsonl.gz").write_bytes(b"no gzip")
    (tmp_path / "h.csv").write_text("not ours")
    documents, skipped = read_documents(corpus_files(str(tmp_path)))
    assert documents == ["ä text", "one", "two", "three", "x = 1\n"]
    assert {Path(skip.path).name: skip.reason for skip in skipped} == {
        "c.md": "it has no text",
        "d.txt": "it is not UTF-8 text (byte 3)",
        "e.jsonl": '2 lines without a "text", the first is line 2',
        "g.jsonl.gz": "Not a gzipped file (b'no')",
    }


def test_cut_off_gzip_is_skipped_and_named(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps({"text": "long " * 1000}).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    documents, skipped = read_documents(corpus_files(str(tmp_path)))
    assert documents == []
    assert [Path(skip.path).name for skip in skipped] == ["a.jsonl.gz"]


def test_standard_library_is_there_without_installed_packages() -> None:
    files = corpus_files(None)
    assert "json/decoder.py" in {"/".join(path.parts[-2:]) for path in files}
    assert not any("site-packages" in path.parts for path in files)


def test_python_without_sources_is_an_error_with_a_remedy(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(ValueError, match="name a folder of your own as corpus"):
        corpus_files(None)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda p: None, "does not exist: name a folder"),
        (lambda p: p.write_text("text"), "is a file, but a corpus is a folder"),
        (lambda p: p.mkdir(), "holds no text: put files that end in .txt .md .py"),
        (lambda p: (p.mkdir(), (p / "a.txt").touch()), "the corpus is empty: none of its 1 files"),
    ],
)
def test_useless_corpora_are_errors(tmp_path: Path, make, expected: str) -> None:
    make(tmp_path / "corpus")
    with pytest.raises(ValueError) as refusal:
        prepare_data(str(tmp_path / "corpus"), 300, tmp_path / "data", progress=lambda line: None)
    assert expected in str(refusal.value)
    left = list((tmp_path / "data").iterdir()) if (tmp_path / "data").exists() else []
    assert left == [], "a failed build leaves nothing behind"


def test_prepared_data_is_complete(small_corpus: Path, tmp_path: Path) -> None:
    (small_corpus / "empty.txt").touch()
    lines: list[str] = []
    folder = prepare_data(str(small_corpus), 300, tmp_path, progress=lines.append)
    (small_corpus / "empty.txt").unlink()
    assert any("empty.txt: it has no text" in line for line in lines)
    summary = read_summary(folder)
    assert [Path(skip["path"]).name for skip in summary["skipped"]] == ["empty.txt"]
    tokenizer = load_tokenizer(folder)
    end = tokenizer.token_to_id(END_OF_DOCUMENT)
    documents = 0
    for part in ("train", "val"):
        file = TokenFile(folder / part)
        assert len(file.tokens) == summary[f"{part}_tokens"]
        assert (file.tokens[file.offsets + file.lengths - 1] == end).all()
        documents += len(file.lengths)
    assert documents == summary["documents"] == 30
    first = TokenFile(folder / "train").tokens[: TokenFile(folder / "train").lengths[0] - 1]
    assert tokenizer.decode(first.tolist()) in {p.read_text() for p in small_corpus.iterdir()}

    # A file is gone, so it is another corpus.
    assert prepare_data(str(small_corpus), 300, tmp_path) != folder


def test_second_call_builds_nothing(small_corpus: Path, tmp_path: Path) -> None:
    folder = prepare_data(str(small_corpus), 300, tmp_path, progress=lambda line: None)
    lines: list[str] = []
    assert prepare_data(str(small_corpus), 300, tmp_path, progress=lines.append) == folder
    assert lines == []
    assert prepare_data(str(small_corpus), 301, tmp_path, progress=lambda line: None) != folder


def test_two_processes_at_once_do_not_clash(small_corpus: Path, tmp_path: Path) -> None:
    folders = run_ranks(lambda mesh: prepare_data(str(small_corpus), 300, tmp_path), 2)
    assert folders[0] == folders[1]
    assert [path.name for path in tmp_path.iterdir()] == [folders[0].name]


def test_any_text_can_be_written(small_corpus: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(prepare_data(str(small_corpus), 300, tmp_path))
    text = "Größe ≤ 5 µs 🚀\tπ"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


@pytest.mark.parametrize("documents", [["x" * 1000], ["x" * 30] * 40, ["x" * 900, "y" * 20]])
def test_split_holds_out_about_the_fraction(documents: list[str]) -> None:
    training, validation = split_documents(documents, 0.1)
    total = sum(map(len, documents))
    assert sum(map(len, training)) + sum(map(len, validation)) == total
    assert 0.05 * total <= sum(map(len, validation)) <= 0.11 * total


def test_vocabulary_smaller_than_the_bytes_is_refused(small_corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="256 bytes \\+ 1 end-of-document token = 257"):
        prepare_data(str(small_corpus), 256, tmp_path)
