"""A learner's first five minutes, in a real browser: workshop up, the link, the first notebook.

The test starts a class cluster of its own in a temporary base, opens the link that `workshop up`
prints, runs start_here.ipynb to its end and looks at what a learner would see. Every request of the
page is noted: none may leave this machine. Screenshots go to $WORKSHOP_SCREENSHOTS if it is set.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labs.freshness import note_run

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NOTEBOOK = Path(__file__).resolve().parents[2] / "labs" / "start_here" / "start_here.ipynb"
# Generous: the machine may be busy. A run of `nano` takes a minute on two free cores.
RUN_LIMIT_S = 600
PAGE_LIMIT_MS = 180_000

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt: chromium)"),
    pytest.mark.skipif(shutil.which("slurmd") is None, reason="SLURM is not installed"),
    pytest.mark.timeout(RUN_LIMIT_S + 600),
]


def workshop(base: Path, *words: str) -> str:
    """Run a cluster command on the test's own base; return what it printed."""
    environment = {**os.environ, "WORKSHOP_BASE": str(base)}
    argv = [sys.executable, "-m", "course_lib.cli", *words]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=240, env=environment, check=False
    )
    assert done.returncode == 0, f"{' '.join(words)}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A class cluster with JupyterLab; gives its base folder and the link to open."""
    base = tmp_path_factory.mktemp("base")
    try:
        printed = workshop(base, "up", "--wait-jupyter")
        link = re.search(r"http://127\.0\.0\.1:\d+/\S+", printed)
        assert link is not None, f"workshop up prints no link:\n{printed}"
        yield base, link[0]
    finally:
        workshop(base, "down")


@pytest.fixture
def page(tmp_path, shots, watched):
    """A page of a fresh browser; `page.left` lists the addresses it asked for outside."""
    with sync_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=CHROMIUM,
            headless=True,
            args=FLAGS,
            viewport={"width": 1300, "height": 950},
        )
        page = watched(context.pages[0])
        yield page
        page.screenshot(path=shots / "last.png")  # what was there when a test failed
        context.close()


def run_cells(page, count: int) -> None:
    """Press Shift+Enter so many times: run the selected cell and go to the next."""
    for _ in range(count):
        page.keyboard.press("Shift+Enter")
        page.wait_for_timeout(300)


def show_picture(page) -> None:
    """Scroll to the loss curve in one go: the view replaces it whenever there is a new one."""
    page.evaluate("document.querySelector('.jp-OutputArea-output img')?.scrollIntoView()")


def finished_run(base: Path, page) -> Path:
    """Wait until a run has left its result; return its folder."""
    deadline = time.monotonic() + RUN_LIMIT_S
    while time.monotonic() < deadline:
        results = list((base / "workspace" / "runs").glob("*/result.json"))
        if results:
            return results[0].parent
        errors = page.locator(".jp-OutputArea-output[data-mime-type*='error']")
        assert errors.count() == 0, errors.first.inner_text()
        page.wait_for_timeout(1000)
    raise AssertionError(f"no run has finished after {RUN_LIMIT_S} s")


def test_a_learner_s_first_five_minutes(cluster, page, shots):
    base, link = cluster
    page.goto(link, wait_until="domcontentloaded", timeout=PAGE_LIMIT_MS)
    # Where the link opens the notebook itself, this only brings it to the front.
    page.dblclick(".jp-DirListing-item:has-text('start_here.ipynb')", timeout=PAGE_LIMIT_MS)
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=PAGE_LIMIT_MS)
    page.wait_for_selector("text=Python 3 (ipykernel) | Idle", timeout=PAGE_LIMIT_MS)
    page.screenshot(path=shots / "1_opened.png")

    # Cell by cell, as a learner would: a page that ran far ahead takes far cells off the screen.
    sources = [cell["source"] for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]]
    live = next(n for n, text in enumerate(sources) if "end = live_run(job)" in "".join(text))
    started = time.monotonic()
    page.click(".jp-NotebookPanel .jp-Cell >> nth=0")
    run_cells(page, 4)
    page.wait_for_selector("text=node4", timeout=60_000)
    page.screenshot(path=shots / "2_cluster.png")
    run_cells(page, live + 1 - 4)
    picture = page.locator(".jp-OutputArea-output img")
    picture.wait_for(state="visible", timeout=RUN_LIMIT_S * 1000)
    page.get_by_text(re.compile(r"step \d{3} of")).wait_for(timeout=RUN_LIMIT_S * 1000)
    show_picture(page)
    page.screenshot(path=shots / "3_training.png")
    bar = page.locator(".widget-hprogress, .progress, .jupyter-widgets progress")
    assert bar.count() >= 1, "no progress bar is shown while the run goes on"

    run_dir = finished_run(base, page)
    page.wait_for_selector("text=/job \\d+ completed after/", timeout=60_000)
    show_picture(page)
    page.screenshot(path=shots / "4_trained.png")
    assert picture.evaluate("image => image.naturalWidth") > 300, "the loss curve is not an image"

    run_cells(page, 3)  # questions, section 5, the sample
    page.wait_for_timeout(2000)
    page.screenshot(path=shots / "5_sample.png")
    run_cells(page, 4)  # section 6, the files, the job script
    page.wait_for_timeout(2000)
    page.screenshot(path=shots / "6_files.png")
    run_cells(page, len(sources) - live - 1 - 3 - 4 - 1)  # all but the last, which is text
    jobs = page.locator("text=Your jobs, newest first")
    jobs.wait_for(timeout=60_000)
    seconds = time.monotonic() - started
    jobs.scroll_into_view_if_needed()
    page.screenshot(path=shots / "7_jobs.png")

    result = json.loads((run_dir / "result.json").read_text())
    assert result["status"] == "completed"
    assert result["val_loss_last"] < result["val_loss_first"] - 1
    assert sorted(set(result["hosts"])) == ["node1", "node2"]
    assert page.locator("[data-mime-type*='error'], [data-mime-type*='stderr']").count() == 0
    assert page.left == [], "the page asked for addresses outside this machine"
    note_run("start_here", seconds)
