"""TensorBoard's profiler in a real browser, without a network: every view of a two-rank run.

Two gloo ranks train the tiny preset and are profiled; `serve` shows their run folder. Each view has
to draw what a learner would look for. Every request of the page is noted: none may leave this
machine, and nothing may go wrong on the console. Screenshots go to $WORKSHOP_SCREENSHOTS if it is
set.
"""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch

from course_lib.config import Layout
from course_lib.model.gpt import GPT
from course_lib.parallel.launch import run_ranks
from course_lib.parallel.mesh import Mesh
from course_lib.parallel.parallelize import parallelize
from course_lib.presets import tiny
from course_lib.train.optim import build_optimizer
from course_lib.train.step import train_step

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("torch_tb_profiler", reason="torch-tb-profiler is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
SERVE = (
    "import sys; from pathlib import Path; from course_lib.profile.tensorboard import serve; "
    "sys.exit(serve(Path(sys.argv[1])))"
)
VIEWS = ("Overview", "Operator", "Trace", "Memory", "Module", "Distributed")
LIMIT_MS = 60_000

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt: chromium)"),
    pytest.mark.timeout(400),
]


def profile_training(mesh: Mesh, run_dir: Path) -> None:
    """Train three steps, record the last two."""
    run = dataclasses.replace(tiny(), layout=Layout(dp=2))
    parallel = parallelize(GPT(run.model), run, mesh)
    optimizer = build_optimizer(parallel, run.train)
    batch = torch.randint(0, run.model.vocab_size, (8, run.model.seq_len + 1))
    path = run_dir / "profile" / f"rank{mesh.rank}.pt.trace.json.gz"
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU],
        schedule=torch.profiler.schedule(wait=0, warmup=1, active=2, repeat=1),
        on_trace_ready=lambda profiler: profiler.export_chrome_trace(str(path)),
        record_shapes=True,
        profile_memory=True,
        with_stack=True,
        # Else operators do not get the call stacks that were recorded.
        experimental_config=torch._C._profiler._ExperimentalConfig(verbose=True),
    ) as profiler:
        for _ in range(3):
            train_step(
                parallel, optimizer, batch, micro_batch=2, global_tokens=16 * 32, grad_clip=1.0
            )
            profiler.step()


@pytest.fixture(scope="module")
def link(tmp_path_factory):
    """TensorBoard on a profiled run; gives its link."""
    run_dir = tmp_path_factory.mktemp("run")
    (run_dir / "profile").mkdir()
    (run_dir / "tensorboard").mkdir()
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run_dir / "tensorboard")) as board:
        for step in range(20):
            board.add_scalar("loss", 6 / (step + 1), step)
    run_ranks(profile_training, 2, run_dir, layout=Layout(dp=2), timeout_s=120)

    log = run_dir / "serve.log"
    environment = {k: v for k, v in os.environ.items() if k != "WORKSHOP_INSIDE"}
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(run_dir)],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/", log.read_text())):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield found[0]
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
        assert len(log.read_text().splitlines()) == 3, f"it complains:\n{log.read_text()}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def page(link, shots, watched):
    """A page that shows the profiler; `page.left` and `page.wrong` list what should not be."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        page = watched(browser.new_page(viewport={"width": 1400, "height": 1000}))
        page.set_default_timeout(LIMIT_MS)
        page.goto(f"{link}#pytorch_profiler")
        yield page
        page.screenshot(path=shots / "tensorboard_last.png")  # what was there when a test failed
        browser.close()


def plugin_of(page):
    """The frame with the profiler's own page, once it has read the traces."""
    page.wait_for_selector("iframe", state="attached")
    for _ in range(300):
        for frame in page.frames:
            if frame.url.endswith("pytorch_profiler/index.html"):
                frame.wait_for_selector("text=Step Time Breakdown")
                return frame
        page.wait_for_timeout(200)
    raise AssertionError(f"no profiler among {[frame.url for frame in page.frames]}")


def choose(page, plugin, view: str) -> None:
    """Choose a view in the list at the left."""
    plugin.locator(".MuiSelect-root").filter(
        has_text=re.compile(f"^({'|'.join(VIEWS)})$")
    ).first.click()
    plugin.locator("li[role=option]", has_text=view).click()
    plugin.locator(f".MuiSelect-root:text-is('{view}')").wait_for()
    page.mouse.move(700, 990)


def point_until(plugin, at, sought: str, x: float, y: float) -> None:
    """Point at a place of `at` until `sought` is shown: the page draws each view more than once."""
    deadline = time.monotonic() + LIMIT_MS / 1000
    while plugin.locator(sought).count() == 0:
        assert time.monotonic() < deadline, f"{sought} is not shown"
        at.hover(position={"x": x + time.monotonic() % 2, "y": y})  # a mouse at rest says nothing
        plugin.page.wait_for_timeout(200)


def test_every_view_is_drawn_without_a_network(page, shots):
    plugin = plugin_of(page)

    def shoot(name: str) -> None:
        page.wait_for_timeout(500)
        page.screenshot(path=shots / f"tensorboard_{name}.png")

    # Two steps of the four kinds of time, and how they share out; what a mouse finds there.
    plugin.wait_for_selector("text=Step Time (microseconds)")
    bars = plugin.locator("svg:has-text('Step Time (microseconds)') > rect")
    assert bars.count() == 2 * 4 + 4, "the legend, and the bars of two steps"
    assert plugin.locator("svg > path[fill-opacity]").count() == 4
    point_until(plugin, bars.nth(4 + 2), "text=/CPU Exec:.*us/", 50, 20)
    plugin.wait_for_selector("td:has-text('Average Step Time')")
    shoot("1_overview")

    choose(page, plugin, "Operator")
    plugin.wait_for_selector("td:has-text('aten::mm')")
    assert plugin.locator("svg > path[fill-opacity]").count() == 20, "two pies of the ten largest"
    pie = plugin.locator("svg:has(> path[fill-opacity])").first
    point_until(plugin, pie, "text=/\\(\\d+\\.\\d %\\)/", 138, 65)
    plugin.locator("tr:has(td:text-is('aten::mm')) >> text=View CallStack").click()
    plugin.locator("text=View call frames").first.click()
    plugin.wait_for_selector("text=/course_lib.*py.*: /")
    shoot("2_operator")

    choose(page, plugin, "Trace")
    viewer = plugin.frame_locator("iframe")
    viewer.locator("text=/thread \\d+/").first.wait_for()
    find = viewer.locator("tr-ui-find-control input")
    find.fill("ProfilerStep")
    viewer.locator("text=0 of 2").wait_for()
    find.press("Enter")
    viewer.locator("text=/item.* selected/").first.wait_for()
    viewer.locator("text=Wall Duration").first.wait_for()
    shoot("3_trace")
    viewer.locator("#view_help_button").click()
    viewer.locator("text=Zoom into selection").wait_for()
    shoot("3_trace_help")
    viewer.locator("close-button").first.click()

    choose(page, plugin, "Memory")
    plugin.wait_for_selector("text=Memory Usage (MB)")
    curve = plugin.locator("svg:has(polyline)")
    plugin.wait_for_selector("td:has-text('aten::mm')")
    point_until(plugin, curve, "text=/Allocated \\(MB\\): /", 200, 200)
    shoot("4_memory")
    box = curve.bounding_box()
    middle = box["y"] + box["height"] / 2
    with page.expect_response(lambda r: "memory_events" in r.url and "start_ts" in r.url):
        page.mouse.down()
        page.mouse.move(box["x"] + 500, middle, steps=4)
        page.mouse.up()
    shoot("4_memory_zoomed")

    choose(page, plugin, "Module")
    plugin.wait_for_selector("td:has-text('GPT')")
    point_until(plugin, plugin.locator("canvas"), "text=/CallTreeRoot Duration: /", 400, 12)
    shoot("5_module")

    choose(page, plugin, "Distributed")
    plugin.wait_for_selector("td:has-text('gloo:send')")
    charts = plugin.locator("svg:has-text('Time (us)')")
    assert charts.count() == 2
    assert charts.first.locator("rect").count() == 2 * 4 + 4, (
        "the legend, and the bars of two ranks"
    )
    for name in ("rank0", "rank1", "Overlapping", "Synchronizing Time"):
        assert plugin.locator(f"svg >> text={name}").count() >= 1, name
    shoot("6_distributed")

    assert page.left == [], "the page asked for addresses outside this machine"
    assert page.wrong == []


def test_two_ranks_are_compared(page, shots):
    plugin = plugin_of(page)
    plugin.locator("text=Diff").click()
    for place, choice in enumerate(("profile", "rank0", "default", "profile", "rank1", "default")):
        plugin.locator(".MuiSelect-root").nth(place).click()
        plugin.locator("li[role=option]", has_text=choice).click()
    plugin.locator("svg:has-text('Execution Comparsion') > rect").first.wait_for()
    plugin.locator("svg:has-text('Execution Diff') > rect").first.wait_for()
    # The gradients' norm is rank 0's business: operators that rank 1 has not called come first.
    plugin.locator("th:has-text('Exp Calls')").click()
    row = plugin.locator("tr:has(td:text-is('aten::linalg_vector_norm')) td")
    row.first.wait_for()
    _, baseline, experiment, delta, percent, *_ = row.all_inner_texts()
    assert int(baseline) > 0
    assert (experiment, delta, percent) == ("0", f"-{baseline}", "-100.00%")
    page.wait_for_timeout(500)
    page.screenshot(path=shots / "tensorboard_7_diff.png")
    # One level down, to what a part of the step is made of.
    plugin.locator("svg:has-text('Execution Comparsion') > rect").nth(4).click()  # past the legend
    plugin.locator("td:text-is('aten::index_select')").wait_for()
    assert page.left == []
    assert page.wrong == []


def test_curves_are_drawn(page, link, shots):
    page.goto(f"{link}#timeseries")
    page.wait_for_selector("text=loss")
    page.wait_for_timeout(1500)
    page.screenshot(path=shots / "tensorboard_8_curves.png")
    assert page.left == []
    assert page.wrong == []


def test_it_is_reached_through_jupyterlab(page, link, jupyter):
    pytest.importorskip("jupyter_server_proxy", reason="jupyter-server-proxy is not installed")
    page.goto(f"{jupyter}/proxy/{urlsplit(link).port}/?token=abc#pytorch_profiler")
    plugin = plugin_of(page)
    assert plugin.url.startswith(f"{jupyter}/proxy/")
    choose(page, plugin, "Trace")
    plugin.frame_locator("iframe").locator("text=/thread \\d+/").first.wait_for()
    assert page.left == []
    assert page.wrong == [], "the fonts, too, are found behind the proxy"
