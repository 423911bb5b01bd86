"""What the tests in a browser share."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from slurm_env.config import jupyter_config, jupyterlab_overrides


@pytest.fixture(scope="module")
def shots(tmp_path_factory) -> Path:
    """Where screenshots go: a folder of the tests, unless WORKSHOP_SCREENSHOTS names one."""
    named = os.environ.get("WORKSHOP_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def watched():
    """Give a function that keeps a page on this machine and lists what should not be.

    `page.left` are the addresses that it asked for outside, `page.wrong` the errors that it told.
    """

    def watch(page):
        page.left, page.wrong = [], []

        def guard(route):
            parts = urlsplit(route.request.url)
            if parts.scheme in ("data", "blob") or parts.hostname == "127.0.0.1":
                route.continue_()
            else:
                page.left.append(route.request.url)
                route.abort()

        page.context.route("**/*", guard)
        page.on("console", lambda m: page.wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        return page

    return watch


@pytest.fixture
def jupyter(tmp_path):
    """JupyterLab as the class cluster's login node runs it, token abc; gives where it listens."""
    settings = tmp_path / "jupyter"
    (settings / "labconfig").mkdir(parents=True)
    (settings / "labconfig" / "default_setting_overrides.json").write_text(jupyterlab_overrides())
    (settings / "jupyter_server_config.py").write_text(
        jupyter_config(
            port=0, token="abc", workspace=str(tmp_path), start_page="/lab", as_root=True
        )
    )
    environment = {"JUPYTER_CONFIG_DIR": str(settings), "HOME": str(tmp_path)}
    with run_jupyter(tmp_path / "jupyter.log", environment) as address:
        yield address


@contextlib.contextmanager
def run_jupyter(log: Path, environment: dict[str, str]) -> Iterator[str]:
    """Run JupyterLab; give where it listens."""
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab"],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"(http://127\.0\.0\.1:\d+)/\S*token", log.read_text())):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield found[1]
    finally:
        server.terminate()
        server.wait(20)
