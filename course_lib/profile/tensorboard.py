"""Show a run in TensorBoard: its curves, and its traces in torch-tb-profiler's views.

    RUN/tensorboard/                       scalars, written while training
    RUN/profile/rankN.pt.trace.json.gz     traces, if steps were profiled (trace.py)

TensorBoard runs on 127.0.0.1, at a port that is free. On the class cluster's login node a browser
cannot reach that, so there the link leads through JupyterLab (jupyter-server-proxy). Nothing of it
needs the internet (tensorboard_plugin.py). Lab 05 opens it. The plugin reads each trace in a new
process: a script that calls `serve` needs an `if __name__ == "__main__":`.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from course_lib.profile.across import find_traces


def serve(run_dir: Path, *, port: int | None = None) -> int:
    """Start TensorBoard on a run folder, print the link, return when it is interrupted.

    Args:
        run_dir: the run folder.
        port: where to listen; left out, any free port.

    Raises:
        ValueError: the folder has neither scalars nor traces, or a package is not the pinned one.
        OSError: the port is taken, or our scripts are not where they should be.
    """
    link = public_link(start(run_dir, port=port))
    if found := len(find_traces(Path(run_dir))):
        print(f"{found} traces: the tab PYTORCH_PROFILER shows them as soon as they are read.")
    print(f"TensorBoard: {link}\nCtrl-C stops it.", flush=True)
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    return 0


def start(run_dir: Path, *, port: int | None = None) -> int:
    """Start TensorBoard on a run folder in a thread of this process; return its port.

    Raises:
        ValueError, OSError: as `serve`.
    """
    run_dir = Path(run_dir).absolute()
    if not (run_dir / "tensorboard").is_dir() and not find_traces(run_dir):
        raise ValueError(
            f"{run_dir} has neither tensorboard/ nor profile/*.pt.trace.json.gz: name a run folder "
            "(`ls` of the workspace's runs/); for traces train with --profile.steps 5:8"
        )
    # Here, as it takes a second that no other command should pay.
    from tensorboard import default, program

    from course_lib.profile import tensorboard_plugin

    tensorboard_plugin.check_pages()
    # The dynamic plugins would bring torch-tb-profiler as it is.
    plugins = [*default.get_static_plugins(), tensorboard_plugin.LocalProfilerPlugin]
    board = program.TensorBoard(plugins=plugins)
    board.configure(
        argv=["tensorboard", "--logdir", str(run_dir), "--host", "127.0.0.1"]
        + ["--port", str(port or 0), "--load_fast", "false", "--reload_interval", "5"]
    )
    try:
        link = board.launch()
    except program.TensorBoardServerException as error:
        raise OSError(f"TensorBoard cannot listen: {error}; leave the port out") from error
    listening = urlsplit(link).port
    assert listening is not None
    return listening


def public_link(port: int) -> str:
    """Return the link by which a browser reaches a port of this host.

    On the class cluster's login node it leads through JupyterLab, which a browser can reach.
    """
    direct = f"http://127.0.0.1:{port}/"
    if os.environ.get("WORKSHOP_INSIDE") != "1":
        return direct
    argv = [sys.executable, "-P", "-m", "slurm_env", "status", "--json"]
    # Its exit code is 1 where a daemon is dead, which need not trouble JupyterLab.
    done = subprocess.run(argv, capture_output=True, text=True, timeout=180, check=False)
    jupyter = json.loads(done.stdout)["jupyter"] if done.stdout.startswith("{") else None
    if not jupyter:
        return f"{direct} (on the login node only: JupyterLab, which leads there, does not run)"
    parts = urlsplit(jupyter)
    return parts._replace(path=f"/proxy/{port}/").geturl()


def _interrupt(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
