"""TensorBoard's profiler as the kit serves it: nothing remote in its pages, and clear refusals."""

import json
import re
import socket
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("torch_tb_profiler", reason="torch-tb-profiler is not installed")

from tensorboard.plugins.base_plugin import TBContext
from werkzeug.test import Client

from course_lib.profile import tensorboard, tensorboard_plugin


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "tensorboard").mkdir()
    return tmp_path


def test_every_page_is_served_with_local_scripts_only(tmp_path: Path) -> None:
    apps = tensorboard_plugin.LocalProfilerPlugin(TBContext(logdir=str(tmp_path))).get_plugin_apps()
    for name, script in tensorboard_plugin.SCRIPT_OF.items():
        page = Client(apps[f"/{name}"]).get(f"/data/plugin/pytorch_profiler/{name}")
        assert page.status_code == 200
        assert (
            re.findall(r'<(?:script|link|img|iframe)\b[^>]*"(?:https?:)?//[^>]*>', page.text) == []
        )
        assert re.findall(r'<script src="([^"]*)"', page.text) == [script]
        assert '<link rel="import"' not in page.text
        policy = page.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self';") and "http" not in policy
        assert "'sha256-" in policy
        served = Client(apps[f"/{script}"]).get(f"/data/plugin/pytorch_profiler/{script}")
        assert served.status_code == 200 and served.content_type.startswith("text/javascript")
        for each in (page, served):
            assert each.headers["X-Content-Type-Options"] == "nosniff"


def test_another_release_of_the_plugin_is_refused(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "index.html").write_text("<html>all new</html>")
    monkeypatch.setattr(tensorboard_plugin, "PLUGIN_STATIC", tmp_path)
    tensorboard_plugin.page.cache_clear()
    with pytest.raises(ValueError, match="not release 0.4.3.*pip install -e"):
        tensorboard_plugin.check_pages()


def test_a_missing_script_is_named(run_dir: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tensorboard_plugin, "STATIC", tmp_path)
    with pytest.raises(FileNotFoundError, match="charts.js is missing.*pip install -e"):
        tensorboard.start(run_dir)


def test_a_folder_without_anything_to_show_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither tensorboard/ nor profile/.*--profile.steps"):
        tensorboard.start(tmp_path)


def test_a_taken_port_is_refused(run_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="leave the port out"):
            tensorboard.start(run_dir, port=taken.getsockname()[1])


def test_the_link_leads_through_jupyterlab_on_the_login_node(monkeypatch) -> None:
    monkeypatch.delenv("WORKSHOP_INSIDE", raising=False)
    assert tensorboard.public_link(4711) == "http://127.0.0.1:4711/"

    def status(jupyter: str | None):
        text = json.dumps({"jupyter": jupyter})
        return lambda *_, **__: subprocess.CompletedProcess([], 1, stdout=text)

    monkeypatch.setenv("WORKSHOP_INSIDE", "1")
    jupyter = "http://127.0.0.1:8888/lab/tree/start_here.ipynb?token=abc"
    monkeypatch.setattr(subprocess, "run", status(jupyter))
    assert tensorboard.public_link(4711) == "http://127.0.0.1:8888/proxy/4711/?token=abc"
    monkeypatch.setattr(subprocess, "run", status(None))
    assert "on the login node only" in tensorboard.public_link(4711)


def test_messages_between_two_ranks_are_communication() -> None:
    from torch_tb_profiler.profiler.event_parser import GlooOpNameSet

    # What the plugin reads is what Loader adds to, in the process that reads a trace.
    assert GlooOpNameSet is tensorboard_plugin.trace.GlooOpNameSet
    import torch_tb_profiler.plugin

    assert torch_tb_profiler.plugin.RunLoader is tensorboard_plugin.Loader
