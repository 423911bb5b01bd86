"""What notebooks show live: the cluster's nodes, and a run from the queue to its last step.

The loss curve is an image that is replaced in its place; queue state and progress are widgets above
it. When the run has ended, the widgets give way to plain text, so that a saved notebook still shows
what happened when nobody runs it. Everything is bounded: a cell never waits for ever.
"""

import html
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets
from IPython.display import HTML, Image, display

from course_lib import runlog
from course_lib.experiment import Series
from course_lib.plots import (
    breakdown_figure,
    comparison_figure,
    loss_figure,
    png_bytes,
    roofline_figure,
)
from course_lib.profile.across import profile_run
from course_lib.profile.page import timeline_page
from course_lib.profile.report import compare
from course_lib.slurm.class_cluster import cluster_status, inside
from course_lib.slurm.client import Job, JobStatus, list_nodes
from course_lib.slurm.notation import format_size
from course_lib.slurm.watch import Snapshot, end_report, follow, state_line

if TYPE_CHECKING:  # it is slow to import
    from tokenizers import Tokenizer

LIVE_LIMIT_S = 30 * 60.0
# A new image for each step would keep the kernel and the browser busy with nothing else.
REDRAW_EVERY_S = 2.0

_CELL = 'style="text-align:left;padding:3px 14px 3px 0"'

_MEANING = {
    "config.json": "every number that decides the run",
    "job.sh": "the job script that SLURM started",
    "job.json": "what was asked of SLURM, and the job's number",
    "git.json": "which code ran",
    "run_info.json": "which rank ran on which node",
    "metrics.jsonl": "one line for each step: loss, speed, bytes sent ...",
    "result.json": "the outcome; it is written last",
    "receipt.json": "what ran where and how it ended, for graders",
    "tokenizer.json": "how text becomes tokens",
    "checkpoints": "weights and optimizer state, to go on from",
    "tensorboard": "the metrics for TensorBoard",
    "ranks": "what each rank printed",
    "failed": "one file for each rank that failed: why",
    "earlier_attempts": "what was there before the job was started again",
}

# State words of sinfo, with a colour that people with colour-blindness can tell apart.
_STATE_COLOURS = {
    "idle": "#009E73",
    "mixed": "#0072B2",
    "allocated": "#0072B2",
    "completing": "#0072B2",
    "down": "#D55E00",
    "drained": "#D55E00",
    "draining": "#D55E00",
}


@dataclass(frozen=True)
class RunEnd:
    """How a followed run ended, and what it left."""

    job_id: int
    run_dir: Path
    status: JobStatus
    report: str
    """The end in words; if the run failed, the rank that failed first."""
    records: tuple[dict[str, Any], ...]
    """All lines of metrics.jsonl."""

    @property
    def succeeded(self) -> bool:
        return self.status.succeeded

    @property
    def result(self) -> dict[str, Any]:
        """Return result.json.

        Raises:
            ValueError: the run did not complete; the message says why.
        """
        result = runlog.read_result(self.run_dir)
        if not self.succeeded or result is None:
            raise ValueError(self.report)
        return result

    @property
    def sample(self) -> str:
        """Return the text that the trained model wrote."""
        return self.result["sample"]


def live_run(job: Job, *, limit_s: float = LIVE_LIMIT_S, poll_s: float = 1.0) -> RunEnd:
    """Show a job until it has ended: queue state, progress, tokens per second, loss curve.

    Stopping the cell leaves the job running; call this again with the same job to come back.

    Raises:
        TimeoutError: the job has not ended after `limit_s` seconds. It goes on.
        SlurmError: SLURM has stopped answering.
    """
    line = ipywidgets.HTML()
    bar = ipywidgets.IntProgress(layout=ipywidgets.Layout(width="auto"))
    numbers = ipywidgets.HTML()
    box = ipywidgets.VBox([line, bar, numbers])
    top = display(box, display_id=True)
    picture = display(HTML(""), display_id=True)
    assert top is not None and picture is not None  # so it is with display_id
    snapshot: Snapshot | None = None
    drawn_s, drawn_records = float("-inf"), 0
    try:
        for snapshot in follow(job, poll_s=poll_s, limit_s=limit_s):
            line.value = f"<b>job {job.job_id}</b> {html.escape(state_line(snapshot))}"
            bar.max, bar.value = snapshot.steps, snapshot.step
            numbers.value = html.escape(_numbers(snapshot))
            fresh = len(snapshot.records) != drawn_records
            if fresh and time.monotonic() - drawn_s >= REDRAW_EVERY_S:
                picture.update(_curve(snapshot, job))
                drawn_s, drawn_records = time.monotonic(), len(snapshot.records)
    except BaseException:
        again = f"The job goes on. To come back: live_run(Job({job.job_id}, ...)) or, in a "
        again += f"terminal, workshop watch {job.job_id}. To end it: scancel {job.job_id}"
        top.update(HTML(_paragraph(again, "#D55E00")))
        raise
    finally:
        box.close()
    assert snapshot is not None  # follow yields at least once
    report = end_report(job, snapshot.status)
    colour = "#009E73" if snapshot.status.succeeded else "#D55E00"
    top.update(HTML(_paragraph(report, colour)))
    if snapshot.records:
        picture.update(_curve(snapshot, job))
    return RunEnd(job.job_id, job.run_dir, snapshot.status, report, snapshot.records)


def live_series(
    series: Series, *, limit_s: float = LIVE_LIMIT_S, poll_s: float = 1.0
) -> dict[str, Path]:
    """Show which run of a series is at work until the job has ended; return the run folders.

    Stopping the cell leaves the job running; call this again with the same series to come back.

    Raises:
        ValueError: the job failed; the message says why.
        TimeoutError: the job has not ended after `limit_s` seconds. It goes on.
        SlurmError: SLURM has stopped answering.
    """
    names = list(series.run_dirs)
    bar = ipywidgets.IntProgress(max=len(names), layout=ipywidgets.Layout(width="auto"))
    line = ipywidgets.HTML()
    box = ipywidgets.VBox([line, bar])
    top = display(box, display_id=True)
    assert top is not None
    snapshot: Snapshot | None = None
    try:
        for snapshot in follow(series.job, poll_s=poll_s, limit_s=limit_s):
            ended = [runlog.read_result(path) is not None for path in series.run_dirs.values()]
            bar.value = sum(ended)
            words = state_line(snapshot)
            if snapshot.status.running and not all(ended):
                words += f": run {sum(ended) + 1} of {len(names)}, {names[ended.index(False)]}"
            line.value = f"<b>job {series.job.job_id}</b> {html.escape(words)}"
    except BaseException:
        again = "The job goes on. To come back: run this cell again. To end it: scancel "
        top.update(HTML(_paragraph(f"{again}{series.job.job_id}", "#D55E00")))
        raise
    finally:
        box.close()
    assert snapshot is not None  # follow yields at least once
    if not snapshot.status.succeeded:
        top.update(HTML(""))
        raise ValueError(end_report(series.job, snapshot.status))
    words = f"{snapshot.status.sentence()}: {len(names)} runs, one after the other"
    top.update(HTML(_paragraph(words, "#009E73")))
    return series.run_dirs


def cluster_view() -> HTML:
    """Return a table of the nodes: state, CPUs in use, fake or real GPUs, partitions, link.

    Raises:
        SlurmError: SLURM doesn't answer.
    """
    links = _links()
    by_node: dict[str, list[str]] = {}
    nodes = list_nodes()
    for each in nodes:
        by_node.setdefault(each.node, []).append(each.partition)
    heads = ["node", "state", "CPUs in use", "memory", "GPUs", "partitions"]
    rows = []
    for each in {each.node: each for each in nodes}.values():
        colour = _STATE_COLOURS.get(each.state.rstrip("*~#%$@^-+"), "#6E6E6E")
        state = each.state.replace("*", " (not answering)")
        gpus = each.gres.rpartition(":")[2] if each.gres else "0"
        cells = [
            f"<b>{html.escape(each.node)}</b>",
            f'<span style="color:{colour}">&#9679;</span> {html.escape(state)}',
            f"{_boxes(each.cpus_allocated, each.cpus)} {each.cpus_allocated} of {each.cpus}",
            f"{each.memory_mib:,} MiB",
            html.escape(gpus),
            html.escape(", ".join(sorted(by_node[each.node]))),
        ]
        if links:
            cells.append(html.escape(links.get(each.node, "")))
        rows.append(cells)
    if links:
        heads.append("link")
    head = "".join(f"<th {_CELL}>{name}</th>" for name in heads)
    body = "".join(
        "<tr>" + "".join(f"<td {_CELL}>{cell}</td>" for cell in row) + "</tr>" for row in rows
    )
    return HTML(f"<table><tr>{head}</tr>{body}</table>")


# Tints of the colours that figures have; neighbours differ in lightness, too, and have an edge.
_TOKEN_COLOURS = ("#CDE4F2", "#F6D9C6", "#CFECE0", "#F4EFC0")


def token_view(tokenizer: "Tokenizer", text: str) -> HTML:
    """Return a text in coloured boxes, one for each token; the pointer shows a token's number.

    A dot stands for a space, an arrow for the end of a line. A token that holds only a part of a
    letter's bytes is shown as these bytes.

    Args:
        tokenizer: a byte-level one, as `prepare_data` makes it.
        text: what it is to cut.
    """
    boxes, data, place = [], text.encode(), 0
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    for number, token in enumerate(ids):
        name = tokenizer.id_to_token(token) or ""  # it has a letter for each byte
        piece = data[place : place + len(name)]
        place += len(piece)
        try:
            shown = html.escape(piece.decode()).replace(" ", "&middot;")
        except UnicodeDecodeError:
            shown = f"&lt;{piece.hex(' ').upper()}&gt;"
        lines = shown.count("\n")
        shown = shown.replace("\n", "&#8629;")
        style = f"background:{_TOKEN_COLOURS[number % len(_TOKEN_COLOURS)]};color:#111111;"
        style += "border:1px solid #888888;border-radius:3px;padding:0 2px;margin:1px"
        title = f"token {token}, {format_size(len(piece))}"
        boxes.append(f'<span style="{style}" title="{title}">{shown}</span>' + "<br>" * lines)
    note = f"{len(data)} bytes, {len(ids)} tokens"
    style = "font-family:monospace;line-height:1.9"
    return HTML(f'<div style="{style}">{"".join(boxes)}</div><div>{note}</div>')


def run_files(run_dir: Path) -> HTML:
    """Return a table of what lies in a run folder, and what each thing is for."""
    rows = ""
    for path in sorted(Path(run_dir).iterdir()):
        inside = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
        size = format_size(sum(each.stat().st_size for each in inside))
        name = path.name + ("/" if path.is_dir() else "")
        meaning = "what the job printed" if path.suffix == ".out" else _MEANING.get(path.name, "")
        cells = (f"<code>{html.escape(name)}</code>", size, meaning)
        rows += "<tr>" + "".join(f"<td {_CELL}>{cell}</td>" for cell in cells) + "</tr>"
    return HTML(f"<table>{rows}</table>")


def _links() -> dict[str, str]:
    """Ask the class cluster for its nodes' cables; a real cluster has no such view."""
    if not inside():
        return {}
    links = {}
    for node, facts in cluster_status().get("nodes", {}).items():
        link = facts["link"]
        words = ["cable pulled"] if link["cut"] else []
        words += [value for value in (link["rate"], link["latency"]) if value != "none"]
        words = ["switched off"] if facts["power"] != "on" else words
        links[node] = ", ".join(words) or "no limit"
    return links


def _boxes(used: int, total: int) -> str:
    """Draw CPUs as boxes, as long as they can be counted by eye."""
    return "&#9632;" * used + "&#9633;" * (total - used) if total <= 16 else ""


def _curve(snapshot: Snapshot, job: Job) -> Image:
    figure = loss_figure(snapshot.records, steps=snapshot.steps, title=f"job {job.job_id}")
    return Image(data=png_bytes(figure), alt=f"loss of job {job.job_id} over optimizer steps")


def _numbers(snapshot: Snapshot) -> str:
    words = [f"step {snapshot.step} of {snapshot.steps}"]
    if snapshot.loss is not None:
        words.append(f"loss {snapshot.loss:.3f} nats per token")
    if snapshot.tokens_per_s:
        words.append(f"{snapshot.tokens_per_s:,.0f} tokens/s")
    return ", ".join(words)


def _paragraph(text: str, colour: str) -> str:
    style = f"border-left:4px solid {colour};padding-left:8px;white-space:pre-wrap;margin:0"
    return f'<pre style="{style}">{html.escape(text)}</pre>'


def profile_view(run_dir: Path, against: Path | None = None) -> None:
    """Show a run's profile: the timeline of its ranks, their breakdown, and the roofline.

    The timeline is a page of its own in a frame, which a saved notebook keeps.

    Args:
        run_dir: a run folder with traces, a folder of traces, or one trace.
        against: an earlier run to compare with.

    Raises:
        ValueError: there is no trace, or one is damaged.
    """
    run = profile_run(run_dir)
    # Bands as high as timeline.js draws them with all their rows, and the text around them.
    height = 300 + (79 if len(run.ranks) <= 16 else 50) * len(run.ranks)
    page = html.escape(timeline_page(run))
    # Scripts may run in the frame, but see nothing of the notebook.
    frame = f'<iframe srcdoc="{page}" sandbox="allow-scripts" title="timeline" width="100%" '
    display(HTML(f'<div>{frame}height="{height}" style="border:0"></iframe></div>'))
    figures = {"where the time of a step went, by rank": breakdown_figure(run)}
    if any(rank.gemms for rank in run.ranks):
        figures["roofline of the matrix products"] = roofline_figure(run)
    if against is not None:
        figures["before and after"] = comparison_figure(compare(profile_run(against), run))
    for alt, figure in figures.items():
        display(Image(data=png_bytes(figure), alt=alt))
