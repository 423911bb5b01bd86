"""JupyterLab's side of the cluster: the socket outside, its settings, the learner's workspace.

The socket is opened here, on the machine, and handed to the supervisor, which offers JupyterLab on
it from inside. Settings stand in the base folder's jupyter/ and keep port and token, so that a link
stays good over a restart; the learner's own Jupyter settings are neither read nor changed.
"""

import os
import re
import secrets
import shutil
import socket
from pathlib import Path

from course_lib.membership import read_membership
from course_lib.places import base_dir, workspace_dir
from slurm_env import config
from slurm_env.processes import ClusterError

LABS = Path(__file__).resolve().parent.parent / "labs"
LIVE_CELLS = LABS.parent / "slides" / "demos.ipynb"


def open_listener(last_port: int) -> socket.socket:
    """Open the socket that the browser connects to, at last time's port if that is free."""
    for port in (last_port, 0):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            listener.close()
            continue
        listener.listen(64)
        return listener
    raise ClusterError("no free port at 127.0.0.1 for JupyterLab")


def write_settings(port: int) -> None:
    """Write JupyterLab's configuration; `port` is the one inside. The token is made once."""
    folder = base_dir() / "jupyter"
    (folder / "config" / "labconfig").mkdir(parents=True, exist_ok=True)
    member = read_membership()
    teaches = member is not None and member.folder is not None
    token = folder / "token"
    if not token.exists():
        write_private(token, secrets.token_urlsafe(18))
    text = config.jupyter_config(
        port=port,
        token=token.read_text(),
        workspace=str(workspace_dir()),
        start_page=start_page(),
        as_root=os.geteuid() == 0,
        teaches=teaches,
    )
    write_private(folder / "config" / "jupyter_server_config.py", text)
    overrides = folder / "config" / "labconfig" / "default_setting_overrides.json"
    overrides.write_text(config.jupyterlab_overrides())
    page = folder / "config" / "labconfig" / "page_config.json"
    page.write_text(config.jupyterlab_page(teaches=teaches))


def start_page() -> str:
    """The page that a link opens: the first notebook, if it is there."""
    name = "start_here.ipynb"
    return f"/lab/tree/{name}" if (workspace_dir() / name).exists() else "/lab"


def copy_workspace() -> list[str]:
    """Copy each lab's notebook into the workspace once; what is there stays as it is.

    A numbered lab lies in a folder of its name, which is what nbgrader hands in. The lecture's live
    cells are copied, too, so that they can be shown there.
    """
    workspace_dir().mkdir(parents=True, exist_ok=True)
    copied = []
    for notebook in [*sorted(LABS.glob("*/*.ipynb")), LIVE_CELLS]:
        beside = workspace_dir() / notebook.name  # older workspaces have them all there
        numbered = re.match(r"\d\d_", notebook.name)
        target = workspace_dir() / notebook.stem / notebook.name if numbered else beside
        if not target.exists() and not beside.exists():
            target.parent.mkdir(exist_ok=True)
            half = target.with_name(f".{target.name}.new")
            shutil.copyfile(notebook, half)
            os.replace(half, target)
            copied.append(target.name)
    return copied


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, by rename."""
    new = path.with_name(path.name + ".new")
    new.touch(mode=0o600)
    new.write_text(text)
    os.replace(new, path)
