"""From files of text to a folder of tokens that training can start from.

    files -> documents -> byte-pair tokenizer -> train.bin/.idx and val.bin/.idx

The default corpus is what every machine with Python has: the source of its standard library, real
text in two languages, with no download. The result is cached under a key made of everything
that went in (paths, sizes, dates, vocabulary), so a second call finds it at once. It is built in a
folder of another name and renamed when complete: a reader never sees half of it, and when two
processes build the same data, the second finds the first one's and uses that. Byte-level BPE as in
GPT-2 (Radford et al. 2019, section 2.2). Left out on purpose: deduplication and quality filters.
"""

import gzip
import hashlib
import json
import os
import random
import shutil
import sysconfig
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from course_lib.places import data_dir
from course_lib.runlog import write_json
from course_lib.train.tokens import write_tokens

END_OF_DOCUMENT = "<|endoftext|>"
ENDINGS = (".txt", ".md", ".py", ".jsonl", ".jsonl.gz")
# What would not be text to learn from: caches, tables of characters, manuals packed into strings.
NOT_STDLIB = {"__pycache__", "encodings", "pydoc_data"}
# What some Pythons have and others do not: with it, the corpora of two machines would differ.
NOT_STDLIB |= {"site-packages", "dist-packages", "test", "tests"}
TOKENIZER_CHARS = 20_000_000
"""The tokenizer learns from at most this much text; the merges hardly change beyond it."""
SKIPPED_SHOWN = 20
"""Skipped files that are named one by one; summary.json names them all."""
FORMAT = 1
"""Part of the key: raise it when the same files would give other tokens."""


@dataclass(frozen=True)
class Skipped:
    """A file, or a line of one, that could not be used."""

    path: str
    reason: str


def corpus_files(corpus: str | None) -> list[Path]:
    """Return the files of a corpus in a fixed order.

    Args:
        corpus: a folder, searched with its subfolders; None for the Python standard library.

    Raises:
        ValueError: the folder does not exist or holds no file of a known kind.
    """
    if corpus is None:
        root = Path(sysconfig.get_path("stdlib"))
        files = [
            path
            for path in root.rglob("*.py")
            # Empty files are no user's mistake here: packages are marked by them.
            if path.is_file()
            and path.stat().st_size
            and not NOT_STDLIB & set(path.relative_to(root).parts)
        ]
        if not files:
            raise ValueError(
                f"this Python has no source of its standard library in {root}: name a folder of "
                "your own as corpus"
            )
        return sorted(files)
    root = Path(corpus).expanduser().absolute()
    if not root.is_dir():
        kind = "is a file, but a corpus is a folder" if root.exists() else "does not exist"
        raise ValueError(f"the corpus {root} {kind}: name a folder with {' '.join(ENDINGS)} files")
    files = [path for path in root.rglob("*") if path.name.endswith(ENDINGS) and path.is_file()]
    if not files:
        raise ValueError(
            f"the corpus {root} holds no text: put files that end in {' '.join(ENDINGS)} there"
        )
    return sorted(files)


def read_documents(files: list[Path]) -> tuple[list[str], list[Skipped]]:
    """Read the documents of all files and say what had to be skipped, and why.

    A .jsonl file has one document per line, under the key "text"; any other file is one document.
    """
    documents: list[str] = []
    skipped: list[Skipped] = []
    for path in files:
        try:
            found = list(_documents_of(path, skipped))
        except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
            skipped.append(Skipped(str(path), _reason(error)))
            continue
        if not found:
            skipped.append(Skipped(str(path), "it has no text"))
        documents += found
    return documents, skipped


def prepare_data(
    corpus: str | None,
    vocab_size: int,
    root: Path | None = None,
    *,
    val_fraction: float = 0.05,
    progress: Callable[[str], object] = print,
) -> Path:
    """Return the folder with a corpus as tokens, building it first if it is not there yet.

    The folder holds train.bin/.idx, val.bin/.idx, tokenizer.json and summary.json.

    Args:
        corpus: a folder, or None for the Python standard library.
        vocab_size: entries of the tokenizer, 256 bytes and the end-of-document token included.
        root: where prepared corpora live (default: `places.data_dir()`).
        val_fraction: share of the text that is held out, in whole documents where possible.
        progress: called with a line of text now and then.

    Raises:
        ValueError: there is no usable text, or vocab_size is too small.
    """
    if vocab_size < 257:
        raise ValueError(
            f"vocab_size is {vocab_size}, but 256 bytes + 1 end-of-document token = 257 entries "
            "are needed at least"
        )
    root = data_dir() if root is None else Path(root)
    files = corpus_files(corpus)
    name = "python-stdlib" if corpus is None else Path(corpus).expanduser().absolute().name
    folder = root / f"{name}-v{vocab_size}-{_key(files, vocab_size, val_fraction)}"
    if (folder / "summary.json").is_file():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=root))
    try:
        summary = _build(building, files, vocab_size, val_fraction, progress)
        write_json(building / "summary.json", {"corpus": corpus or "python-stdlib", **summary})
        building.chmod(0o755)  # mkdtemp makes it private; other users of the node may read it
        try:
            os.rename(building, folder)
        except OSError as error:
            # Another process was faster: what it built came from the same files.
            if not (folder / "summary.json").is_file():
                raise ValueError(f"{folder} is in the way and incomplete: delete it") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    progress(f"data is ready in {folder}")
    return folder


def read_summary(folder: Path) -> dict[str, Any]:
    """Read what `prepare_data` noted about a prepared corpus: counts, and what was skipped."""
    return json.loads((Path(folder) / "summary.json").read_text())


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load tokenizer.json from a prepared corpus or a run folder.

    Raises:
        ValueError: the file is missing or damaged; the message names it.
    """
    path = Path(folder) / "tokenizer.json"
    try:
        return Tokenizer.from_str(path.read_text())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {_reason(error)}") from error
    except Exception as error:  # the library raises plain Exception for a file it cannot parse
        raise ValueError(f"{path} is damaged: {error}") from error


def end_of_document(tokenizer: Tokenizer) -> int:
    """Return the id of the token that ends a document.

    Raises:
        ValueError: the tokenizer has none, so it is not one that `prepare_data` made.
    """
    end = tokenizer.token_to_id(END_OF_DOCUMENT)
    if end is None:
        raise ValueError(f"the tokenizer has no {END_OF_DOCUMENT} token: take the run's own one")
    return end


def split_documents(documents: list[str], val_fraction: float) -> tuple[list[str], list[str]]:
    """Split into (training, validation) documents, the same way each time.

    Whole documents are held out, so that no held-out text has its other half in the training set.
    If the documents are too few and large for that, the end of the longest one makes up the rest.
    """
    order = list(range(len(documents)))
    random.Random(0).shuffle(order)
    wanted = val_fraction * sum(map(len, documents))
    held_out: set[int] = set()
    held_chars = 0
    for i in order:
        if held_chars + len(documents[i]) <= wanted:
            held_out.add(i)
            held_chars += len(documents[i])
    training = [document for i, document in enumerate(documents) if i not in held_out]
    validation = [documents[i] for i in sorted(held_out)]
    if held_chars < wanted / 2:
        longest = max(range(len(training)), key=lambda i: len(training[i]))
        cut = max(1, len(training[longest]) - round(wanted - held_chars))
        validation.append(training[longest][cut:])
        training[longest] = training[longest][:cut]
    return training, [document for document in validation if document]


def _build(
    folder: Path,
    files: list[Path],
    vocab_size: int,
    val_fraction: float,
    progress: Callable[[str], object],
) -> dict[str, Any]:
    start_s = time.monotonic()
    documents, skipped = read_documents(files)
    for skip in skipped[:SKIPPED_SHOWN]:
        progress(f"skipped {skip.path}: {skip.reason}")
    if len(skipped) > SKIPPED_SHOWN:
        more = len(skipped) - SKIPPED_SHOWN
        progress(f"skipped {more} more files: summary.json names each, with its reason")
    if not documents:
        raise ValueError(
            f"the corpus is empty: none of its {len(files)} files has text that can be read "
            f"(first: {skipped[0].path}: {skipped[0].reason})"
        )
    training, validation = split_documents(documents, val_fraction)
    chars = sum(map(len, documents))
    progress(f"read {len(documents):,} documents, {chars:,} characters, from {len(files):,} files")
    # From the training part only: held-out text must not have shaped anything.
    tokenizer = _train_tokenizer(training, vocab_size)
    progress(f"learned a tokenizer of {tokenizer.get_vocab_size():,} entries")
    counts = {
        part: write_tokens(folder / part, _encode(tokenizer, texts), vocab_size)
        for part, texts in (("train", training), ("val", validation))
    }
    tokenizer.save(str(folder / "tokenizer.json"))
    progress(f"wrote {counts['train']:,} tokens to train on and {counts['val']:,} held out")
    return {
        "files": len(files),
        "documents": len(documents),
        "characters": chars,
        "tokenizer_characters": min(sum(map(len, training)), TOKENIZER_CHARS),
        "vocab_size": vocab_size,
        "vocab_used": tokenizer.get_vocab_size(),
        "train_tokens": counts["train"],
        "val_tokens": counts["val"],
        "val_fraction": val_fraction,
        "skipped": [{"path": skip.path, "reason": skip.reason} for skip in skipped],
        "build_time_s": round(time.monotonic() - start_s, 3),
    }


def _train_tokenizer(documents: list[str], vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_DOCUMENT],
        # All 256 bytes, so that any text can be written, even characters not in the corpus.
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_up_to(documents, TOKENIZER_CHARS), trainer)
    return tokenizer


def _up_to(documents: list[str], chars: int) -> Iterator[str]:
    """Yield documents spread over the whole list until they have `chars` characters."""
    # In a shuffled order, as the first folders in the alphabet are not like the others.
    for i in random.Random(1).sample(range(len(documents)), len(documents)):
        yield documents[i][:chars]
        chars -= len(documents[i])
        if chars <= 0:
            return


def _encode(tokenizer: Tokenizer, documents: list[str]) -> Iterator[list[int]]:
    end = end_of_document(tokenizer)
    for first in range(0, len(documents), 256):
        batch = documents[first : first + 256]
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            yield [*encoding.ids, end]


def _documents_of(path: Path, skipped: list[Skipped]) -> Iterator[str]:
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        text = path.read_text(encoding="utf-8")
        if text.strip():
            yield text
        return
    opened = gzip.open if path.name.endswith(".gz") else open
    bad_lines: list[int] = []
    with opened(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                text = json.loads(line)["text"]
            except (ValueError, KeyError, TypeError):
                text = None
            if isinstance(text, str) and text.strip():
                yield text
            else:
                bad_lines.append(number)
    if bad_lines:
        reason = f'{len(bad_lines)} lines without a "text", the first is line {bad_lines[0]}'
        skipped.append(Skipped(str(path), reason))


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 text (byte {error.start})"
    return getattr(error, "strerror", None) or str(error)


def _key(files: list[Path], vocab_size: int, val_fraction: float) -> str:
    """Hash all that decides the tokens. Sizes and dates stand for contents: reading takes long."""
    digest = hashlib.sha256(f"{FORMAT} {vocab_size} {val_fraction}".encode())
    for path in files:
        stat = path.stat()
        digest.update(f"\n{path} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:12]
