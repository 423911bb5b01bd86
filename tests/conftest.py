"""What several test folders share: a corpus small enough to be tokenised in a moment."""

import random
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with about 60 kB of made-up sentences in text and Markdown files."""
    folder = tmp_path_factory.mktemp("corpus")
    random_ = random.Random(3)
    nouns = ["rank", "node", "tensor", "gradient", "batch", "layer", "token", "step", "loss"]
    verbs = ["sends", "waits for", "adds", "reads", "shards", "copies", "drops", "finds"]
    for number in range(30):
        sentences = [
            f"the {random_.choice(nouns)} {random_.choice(verbs)} the {random_.choice(nouns)}."
            for _ in range(80)
        ]
        path = folder / f"part_{number:02d}{'.txt' if number % 2 else '.md'}"
        path.write_text("\n".join(sentences))
    return folder
