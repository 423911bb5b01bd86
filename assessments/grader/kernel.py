"""A Jupyter kernel in the box: run cells, ask for names, survive what a cell does to it.

A cell may end the kernel, hang, or flood its output. It is told what happened, in its place in the
notebook; then a new kernel runs the cells before it again, and the notebook goes on after it.
"""

import base64
import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import zmq
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file
from nbformat import NotebookNode

from assessments.grader.box import CHANNEL, MIB, BoxError, BoxUser, Guard, Limits, box_argv
from course_lib.grade import border

START_S = 60.0
GRACE_S = 3.0
"""How long an interrupted cell may take to end."""


# Short, as the kernel runs it each time; what it imports there was installed by whoever grades.
_ASK = """
from IPython import get_ipython as _shell
from course_lib.grade import border as _border
_shell().display_pub.publish({{'{mime}': _border.serve('{request}', _shell().user_ns)}})
"""


class KernelEnded(RuntimeError):
    """The kernel is no more; the message says what ended it."""


class BoxedKernel:
    """One kernel in one box, for one submission.

    Args:
        submission: the folder that was handed in.
        limits: what it may use.
    """

    def __init__(self, submission: Path, limits: Limits) -> None:
        self.limits = limits
        self._user = BoxUser()
        self._folder = Path(tempfile.mkdtemp(prefix="box-"))
        try:
            self._start(submission)
        except BaseException:
            self.close()
            raise

    def _start(self, submission: Path) -> None:
        channel = self._folder / "channel"
        channel.mkdir(mode=0o700)
        self._user.own(channel)
        if os.geteuid() == 0:
            self._folder.chmod(0o711)
        # The kernel binds its sockets there; nothing else of the grader's is in its reach.
        _, info = write_connection_file(
            str(self._folder / "connection.json"), ip=str(channel / "s"), transport="ipc"
        )
        inside = channel / "connection.json"
        inside.write_text(json.dumps(info | {"ip": f"{CHANNEL}/s"}))
        self._user.own(inside)
        inner = [sys.executable, "-P", "-m", "ipykernel_launcher", "-f", f"{CHANNEL}/{inside.name}"]
        inner += ["--HistoryManager.enabled=False", "--log-level=CRITICAL"]
        # Modules that were handed in can be imported, but only by the notebook.
        inner += ["--InteractiveShellApp.exec_lines=import sys; sys.path.insert(0, '')"]
        argv = box_argv(
            inner,
            submission=submission,
            channel=channel,
            limits=self.limits,
            uid=self._user.uid,
        )
        with (self._folder / "said").open("wb") as said:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )
        self._guard = Guard(self._process, channel, self.limits)
        self._context = zmq.Context()
        # A message that is larger, or more than these in a row, is lost: the cell then ends late.
        self._context.set(zmq.MAX_MSGSZ, 96 * MIB)
        self._context.setsockopt(zmq.RCVHWM, 32)
        self._context.setsockopt(zmq.LINGER, 0)
        self._client = BlockingKernelClient(context=self._context)
        self._client.load_connection_info(info)
        self._client.start_channels()
        end_s = time.monotonic() + START_S
        while True:
            self._client.kernel_info()
            with contextlib.suppress(queue.Empty):
                self._client.get_shell_msg(timeout=0.5)
                # It answers; but is its output connected, too? What is sent before that is lost.
                self._client.get_iopub_msg(timeout=0.2)
                return
            if self._process.poll() is not None or time.monotonic() > end_s:
                said = (self._folder / "said").read_text(errors="replace").strip()[-600:]
                raise BoxError(f"no kernel starts in the sandbox of {submission}: {said}")

    def _require_alive(self) -> None:
        if self._guard.reason:
            raise KernelEnded(f"it was stopped: {self._guard.reason}")
        if self._process.poll() is not None:
            raise KernelEnded("the kernel ended: did the cell call os._exit, or crash Python?")

    def run(self, cell: NotebookNode, limit_s: float) -> None:
        """Run a cell and put into it what it puts out.

        Raises:
            KernelEnded: the cell has ended the kernel, or had to be ended with it.
        """
        cell.outputs = []
        recorder = _Recorder(cell, self.limits.output_bytes)
        if not self._execute(cell.source, limit_s, recorder.take):
            words = f"This cell was not done after {limit_s:.0f} s and was interrupted."
            cell.outputs.append(error_output("TooSlow", words))

    def ask(
        self, request: border.Look | border.Call | border.Try, limit_s: float
    ) -> dict[str, Any]:
        """Ask the notebook something; print what its function prints.

        Raises:
            KernelEnded: the kernel ended over it, or did not answer in time.
            border.NotPlain: what came back is no plain data.
        """
        replies: list[str] = []
        recorder = _Recorder(nbformat.v4.new_code_cell(), self.limits.output_bytes)

        def take(message: dict[str, Any]) -> None:
            data = message["content"].get("data", {})
            if message["msg_type"] == "display_data" and border.MIME in data:
                replies.append(str(data[border.MIME]))
            else:
                recorder.take(message)

        code = _ASK.format(request=border.seal(request), mime=border.MIME)
        in_time = self._execute(code, limit_s, take)
        print(recorder.text(), end="")
        if not in_time:
            raise border.Raised(
                f"your function {request.name} was not done after {limit_s:.0f} s: an endless loop?"
            )
        if len(replies) != 1:
            raise border.NotPlain(
                "the notebook's kernel did not answer: is something in it redefined?"
            )
        return border.unpack(base64.b64decode(replies[0]))

    def _execute(self, code: str, limit_s: float, take: Callable[[dict[str, Any]], None]) -> bool:
        """Execute code and hand on its messages; return whether it ended before its interrupt."""
        message_id = self._client.execute(code, store_history=False, allow_stdin=False)
        end_s, interrupted = time.monotonic() + limit_s, False
        while True:
            try:
                message = self._client.get_iopub_msg(timeout=0.25)
            except queue.Empty:
                message = None
            if message and message["parent_header"].get("msg_id") == message_id:
                if (
                    message["msg_type"] == "status"
                    and message["content"]["execution_state"] == "idle"
                ):
                    return not interrupted
                take(message)
            self._require_alive()
            if time.monotonic() > end_s:
                if interrupted:
                    self.close()
                    raise KernelEnded(f"not done after {limit_s:g} s, and it ignored the interrupt")
                interrupted = True
                end_s = time.monotonic() + GRACE_S
                self._client.control_channel.send(self._client.session.msg("interrupt_request", {}))

    def close(self) -> None:
        """End the kernel and everything in its box."""
        if hasattr(self, "_client"):
            self._client.stop_channels()
            self._context.destroy(linger=0)
        if hasattr(self, "_guard"):
            self._guard.stop()
        if hasattr(self, "_process"):
            self._process.kill()
            self._process.wait()
        self._user.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def error_output(name: str, words: str, *, line: int | None = None) -> NotebookNode:
    """Return an error as a cell's output, in words for the learner: no traceback but the line."""
    place = [f"line {line} of this cell"] if line else []
    return nbformat.v4.new_output("error", ename=name, evalue=words, traceback=[*place, words])


class _Recorder:
    """Puts a cell's messages into its outputs, up to a number of bytes."""

    def __init__(self, cell: NotebookNode, limit_bytes: int) -> None:
        self._cell, self._left, self._limit = cell, limit_bytes, limit_bytes
        self._clear = False

    def take(self, message: dict[str, Any]) -> None:
        """Record a message of the kernel, if it is one that puts something out."""
        if message["msg_type"] == "clear_output":
            self._clear = True
            return
        try:
            output = nbformat.v4.output_from_msg(message)
            nbformat.validate(output, ref="output", version=4)
        except (ValueError, KeyError, TypeError):  # also nbformat's own ValidationError
            return
        if self._clear:
            self._cell.outputs, self._clear, self._left = [], False, self._limit
        if self._left <= 0:
            return
        self._left -= len(json.dumps(output))
        if self._left <= 0:
            output = nbformat.v4.new_output(
                "stream",
                name="stdout",
                text=f"\n[More than {self._limit // 1024} KiB: the rest is left out.]\n",
            )
        last = self._cell.outputs[-1] if self._cell.outputs else None
        if last and last.output_type == output.output_type == "stream" and last.name == output.name:
            last.text += output.text
        else:
            self._cell.outputs.append(output)

    def text(self) -> str:
        """Return what was printed."""
        return "".join(o.text for o in self._cell.outputs if o.output_type == "stream")
