"""The course in a real JupyterLab, in a real browser: what who learns and who teaches see of it.

One person on one machine does both: fetches the lab from the Assignment List, validates it, hands
it in, and, once it is graded, opens the Formgrader. JupyterLab runs with the settings that
`workshop up` writes. Every request of the pages is noted: none may leave this machine, and nothing
may go wrong on the console. Screenshots go to $WORKSHOP_SCREENSHOTS if it is set.
"""

import contextlib
import os
import socket

import pytest

from assessments.__main__ import main
from course_lib.membership import Membership, write_membership
from slurm_env import notebooks
from tests.browser.conftest import run_jupyter
from tests.browser.test_start_here import CHROMIUM, FLAGS
from tests.labs.classroom import LAB_NAME, RIGHT, fill_in
from tests.labs.made_up import LAB

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

LIMIT_MS = 90_000

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt: chromium)"),
    pytest.mark.timeout(600),
]


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A base folder whose owner teaches a class with the made-up lab, given out."""
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "labs" / LAB_NAME).mkdir(parents=True)
    (tmp_path / "labs" / LAB_NAME / "lab.py").write_text(LAB)
    assert main(["class", "init", "--labs", str(tmp_path / "labs")]) == 0
    assert main(["class", "release", "1"]) == 0
    return tmp_path


@pytest.fixture
def lab(base):
    """Give a function that starts JupyterLab as `workshop up` would; it gives the address."""

    def start() -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        notebooks.write_settings(port)
        folder = base / "jupyter"
        environment = {"JUPYTER_CONFIG_DIR": folder / "config", "JUPYTER_DATA_DIR": folder / "data"}
        server = run_jupyter(base / "jupyter.log", {k: str(v) for k, v in environment.items()})
        return f"{running.enter_context(server)}/lab?token={(folder / 'token').read_text()}"

    with contextlib.ExitStack() as running:
        yield start


@pytest.fixture
def page(tmp_path, watched):
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = watched(browser.new_page(viewport={"width": 1300, "height": 900}))
        page.set_default_timeout(LIMIT_MS)
        yield page
        browser.close()


def open_menu(page) -> list[str]:
    """Open the menu Nbgrader; return its entries."""
    page.click(".lm-MenuBar-itemLabel:text-is('Nbgrader')")
    page.wait_for_selector(".lm-Menu-itemLabel:has-text('Assignment List')")
    return [text for text in page.locator(".lm-Menu-itemLabel").all_inner_texts() if text]


def choose(page, entry: str) -> None:
    open_menu(page)
    page.click(f".lm-Menu-itemLabel:text-is('{entry}')")


def test_one_person_learns_and_teaches(base, lab, page, shots) -> None:
    page.goto(lab())
    choose(page, "Assignment List")
    page.click("#released_assignments_list button:text-is('Fetch')")
    page.wait_for_selector(f"#fetched_assignments_list :text('{LAB_NAME}')")
    notebook = base / "workspace" / LAB_NAME / f"{LAB_NAME}.ipynb"
    assert notebook.is_file()
    page.screenshot(path=shots / "assignment_list.png")

    fill_in(notebook, {"mean_of_parts": RIGHT})
    page.goto(page.url.replace("/lab", f"/lab/tree/{LAB_NAME}/{LAB_NAME}.ipynb", 1))
    page.click(".jp-NotebookPanel-toolbar :text-is('Validate')")
    page.wait_for_selector(".jp-Dialog :text('failed')")
    page.screenshot(path=shots / "validate.png")
    page.keyboard.press("Escape")

    choose(page, "Assignment List")
    page.click("#fetched_assignments_list button:text-is('Submit')")
    page.wait_for_selector(f"#submitted_assignments_list :text('{LAB_NAME}')")
    for command in ("collect", "grade"):
        assert main(["class", command, "1"]) == 0

    choose(page, "Formgrader")
    frame = page.frame_locator("iframe[src*='formgrader']")
    frame.locator(
        f"#manage_assignments_row :text('{LAB_NAME}'), td:has-text('{LAB_NAME}')"
    ).first.wait_for()
    page.screenshot(path=shots / "formgrader.png")
    # A person gives a mark: from the gradebook to the learner's notebook.
    frame.locator("a:text-is('Manual Grading')").click()
    for name in (LAB_NAME, LAB_NAME, "Submission #1"):
        frame.locator(f"td a:text-is('{name}')").first.click()
    frame.locator(".nbgrader_cell :text('mean_of_parts')").first.wait_for()
    page.screenshot(path=shots / "manual_grading.png")
    assert page.left == []
    assert page.wrong == []


def test_who_only_learns_is_offered_no_formgrader(base, lab, page, shots) -> None:
    write_membership(Membership(course="workshop", exchange=base / "exchange"))
    link = lab()
    page.goto(link)
    entries = open_menu(page)
    assert "Assignment List" in entries
    assert not [entry for entry in entries if "Formgrader" in entry or "Create" in entry]
    page.screenshot(path=shots / "learners_menu.png")
    assert page.left == [] and page.wrong == []
    response = page.request.get(link.replace("/lab?", "/formgrader?"))
    assert response.status == 404
