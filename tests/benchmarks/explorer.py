"""The explorer: milliseconds from a slider that is moved to the new picture.

`python -m tests.benchmarks.explorer` does it first without a browser, for every number of pipeline
stages of two models: CPU time of the numbers alone and of all that Python does for a change, and
the size of what it sends. Then by the keyboard, in JupyterLab in Chromium: from the key until the
last new piece of the picture has been painted, which on a busy machine takes longer. Bar: 100 ms a
change. Each is done several times; the median and the highest are printed.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from playwright.sync_api import sync_playwright

from course_lib.explorer.answer import answer
from course_lib.explorer.widget import LABELS, Explorer
from slurm_env.config import jupyter_config, jupyterlab_overrides
from tests.browser.conftest import run_jupyter
from tests.browser.test_explorer import CELL
from tests.browser.test_profile_view import choose
from tests.browser.test_start_here import CHROMIUM, FLAGS

ROUNDS = 8
SETTLE_S = 0.6
"""In the browser, from a key to the next: far more than a change takes."""
WATCH = """() => {
  const seen = window.seen = { key: 0, painted: 0 };
  document.addEventListener("keydown", () => { seen.key = performance.now(); }, true);
  new MutationObserver(() => {
    // After the frame that shows it.
    requestAnimationFrame(() => setTimeout(() => { seen.painted = performance.now(); }, 0));
  }).observe(document.querySelector(".workshop-explorer"), { childList: true, subtree: true });
}"""


def main() -> None:
    """Print both tables."""
    for model, gpus in (("gpt_175b", 1024), ("gpt_1008b", 3072)):
        without_browser(model, gpus)
    if CHROMIUM is None:
        print("no chromium here: apt install chromium")
        return
    with tempfile.TemporaryDirectory() as folder:
        in_browser(Path(folder))


def without_browser(model: str, gpus: int) -> None:
    """Print what Python does for a change."""
    sliders = Explorer(model, gpus, "a100-80gb", 300e9)
    for _, stages in sliders.controls["pp"].options:
        sliders.controls["pp"].value = stages
        near = sliders.nearest
        refused_ms = [_ms(sliders.show) for _ in range(ROUNDS)] if near else []
        sliders.take(near)
        settings = sliders.settings
        asked = partial(answer, sliders.request, settings, sliders.value("tokens"))
        numbers = [_ms(asked) for _ in range(ROUNDS)]
        words = f"refused, with the nearest: {_of(refused_ms)}; " if refused_ms else ""
        print(
            f"{model}, {gpus:,} GPUs, pp {stages}: {words}then pp {settings.pp}, v "
            f"{settings.virtual_stages}: numbers {_of(numbers)}, all of a change "
            f"{_of([_ms(sliders.show) for _ in range(ROUNDS)])}, "
            f"{len(sliders.picture.value) / 1e3:.0f} kB"
        )


def in_browser(folder: Path) -> None:
    """Print how long keys take in JupyterLab."""
    settings = folder / "jupyter"
    (settings / "labconfig").mkdir(parents=True)
    (settings / "labconfig" / "default_setting_overrides.json").write_text(jupyterlab_overrides())
    (settings / "jupyter_server_config.py").write_text(
        jupyter_config(port=0, token="abc", workspace=str(folder), start_page="/lab", as_root=True)
    )
    cell = {"cell_type": "code", "id": "c0", "source": CELL, "execution_count": None}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    text = {"cells": [cell | {"metadata": {}, "outputs": []}], "metadata": kernel}
    (folder / "x.ipynb").write_text(json.dumps(text | {"nbformat": 4, "nbformat_minor": 5}))
    environment = {"JUPYTER_CONFIG_DIR": str(settings), "HOME": str(folder)}
    with (
        run_jupyter(folder / "jupyter.log", environment) as address,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.goto(f"{address}/lab/tree/x.ipynb?token=abc")
        page.wait_for_selector("text=Python 3 (ipykernel) | Idle", timeout=90_000)
        choose(page, "Run", "Run All Cells")
        page.locator(".workshop-explorer [role=status]").wait_for()
        page.evaluate(WATCH)
        handles = page.locator(".workshop-explorer .noUi-handle")
        for name in ("tokens", "pp", "micro_batch", "zero", "gpus"):
            handles.nth(list(LABELS).index(name)).focus()
            found: dict[str, list[float]] = {}
            for _ in range(ROUNDS):
                for key in ("ArrowRight", "ArrowLeft"):
                    page.keyboard.press(key)
                    time.sleep(SETTLE_S)
                    took = page.evaluate("() => seen.painted - seen.key")
                    found.setdefault(key, []).append(took)
            print(f"JupyterLab: {name}", *(f"{key} {_of(ms)}" for key, ms in found.items()))
        browser.close()


def _ms(call: Callable[[], object]) -> float:
    start_s = time.process_time()
    call()
    return 1e3 * (time.process_time() - start_s)


def _of(times_ms: list[float]) -> str:
    return f"{statistics.median(times_ms):.0f} ms (highest {max(times_ms):.0f})"


if __name__ == "__main__":
    main()
