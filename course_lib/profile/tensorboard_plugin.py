"""torch-tb-profiler for a machine without internet: its pages with scripts of our own in them.

Its front page loads Google Charts from a remote server and its trace viewer a library that gives
browsers back what the viewer was written for (custom elements, HTML imports). static/charts.js and
static/custom_elements.js stand in for both; the import is done here, by putting one page into the
other. So nothing is fetched, neither by the browser nor at set-up. tensorboard.py starts it; this
module is apart because it imports TensorBoard at once.
"""

import base64
import functools
import hashlib
import logging
import re
from pathlib import Path
from typing import Any

import torch_tb_profiler.plugin
import werkzeug
from tensorboard.plugins.core import core_plugin
from torch_tb_profiler.profiler import trace
from torch_tb_profiler.profiler.diffrun.contract import DiffStats, OpAgg
from torch_tb_profiler.profiler.loader import RunLoader

STATIC = Path(__file__).parent / "static"
PLUGIN_STATIC = Path(torch_tb_profiler.plugin.__file__).parent / "static"
SCRIPT_OF = {"index.html": "charts.js", "trace_embedding.html": "custom_elements.js"}
"""Page of the plugin -> our script in the place of its one remote script."""

# The kit's own messages between two ranks, which the plugin does not know for communication.
_POINT_TO_POINT = ("gloo:send", "gloo:recv")


class LocalProfilerPlugin(torch_tb_profiler.plugin.TorchProfilerPlugin):
    """The plugin, its pages rewritten."""

    def get_plugin_apps(self) -> dict[str, Any]:
        """Add our scripts to what is served, and serve the rewritten pages."""
        ours = [*SCRIPT_OF, *SCRIPT_OF.values()]
        return super().get_plugin_apps() | {f"/{name}": _serve_file for name in ours}

    def get_diff_status(self, *runs: Any) -> DiffStats:
        """Give both sides of a comparison the same operators, in the same order.

        The page compares the first of the one with the first of the other, and so on: where one
        rank runs an operator more, it compared what is not the same, or failed.
        """
        stats = super().get_diff_status(*runs)
        for node in stats.flatten_diff_tree().values():
            pair = (node.left, node.right)
            left, right = ({agg.name: agg for agg in side.op_aggs} for side in pair)
            for side, aggs in zip(pair, (left, right), strict=True):
                side.op_aggs = [aggs.get(name, OpAgg(name, *[0] * 5)) for name in left | right]
        return stats


class Loader(RunLoader):
    """Reads a run's traces, each in a process of its own; there `_process_data` is called."""

    def _process_data(self, *args: Any) -> None:
        trace.GlooOpNameSet.extend(_POINT_TO_POINT)
        super()._process_data(*args)


class LocalCorePlugin(core_plugin.CorePlugin):
    """TensorBoard's own page; it asks for its fonts at the host's root, where JupyterLab is."""

    def _serve_index(self, index: bytes, *request: Any) -> Any:
        serve: Any = super()._serve_index
        return serve(index.replace(b"url(/", b"url("), *request)


def _is_worth_saying(record: logging.LogRecord) -> bool:
    """Leave out what is no fault: a message outlives its operator, or holds float64."""
    words = ("ranges on the same thread should not intersect", "unknown tensor type")
    return not any(each in record.getMessage() for each in words)


# At import, as the processes that read traces import this module too.
torch_tb_profiler.plugin.RunLoader = Loader
core_plugin.CorePlugin = LocalCorePlugin
logging.getLogger("pytorch_profiler").addFilter(_is_worth_saying)


def check_pages() -> None:
    """Raise if a page cannot be shown.

    Raises:
        FileNotFoundError: a script of ours is missing.
        ValueError: the plugin is not the release that this module was written for.
    """
    for name, script in SCRIPT_OF.items():
        if not (STATIC / script).exists():
            raise FileNotFoundError(
                f"{STATIC / script} is missing, without which the profiler's pages stay empty: "
                "install the kit again with `.venv/bin/pip install -e .`"
            )
        page(name)


@functools.cache
def page(name: str) -> str:
    """Return a page of the plugin with local scripts only."""
    text = (PLUGIN_STATIC / name).read_text("utf-8")
    text = _replace_one(r'<script src="https://[^"]*">', f'<script src="{SCRIPT_OF[name]}">', text)
    if name == "trace_embedding.html":
        viewer = (PLUGIN_STATIC / "trace_viewer_full.html").read_text("utf-8")
        # What is shown in the viewer's dialog; in browsers of today the element is called slot.
        viewer = viewer.replace("<content></content>", "<slot></slot>")
        text = _replace_one(r'<link rel="import"[^>]*>', viewer, text)
    return text


def _replace_one(pattern: str, by: str, text: str) -> str:
    text, count = re.subn(pattern, lambda _: by, text)
    if count != 1:
        raise ValueError(
            f"torch-tb-profiler's page has {count} places like {pattern}, but it should have 1: "
            "this is not release 0.4.3; install it with `.venv/bin/pip install -e .`"
        )
    return text


def policy(text: str) -> str:
    """Return the header by which the browser itself refuses what is not from here.

    TensorBoard asks every page for one, and for each script written into a page its hash.
    """
    inline = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in inline]
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'self'; script-src 'self' 'unsafe-eval' {hashes}; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:"
    )


@werkzeug.Request.application
def _serve_file(request: werkzeug.Request) -> werkzeug.Response:
    name = request.path.rpartition("/")[2]
    headers = [*torch_tb_profiler.plugin.TorchProfilerPlugin.headers]
    if name in SCRIPT_OF:
        text, kind = page(name), "text/html"
        headers.append(("Content-Security-Policy", policy(text)))
    else:
        text, kind = (STATIC / name).read_text("utf-8"), "text/javascript"
    return werkzeug.Response(text, content_type=f"{kind}; charset=utf-8", headers=headers)
