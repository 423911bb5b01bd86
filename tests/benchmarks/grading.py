"""How many submissions a minute are graded: lab 03, from its answer bank, with torch in the kernel.

`python -m tests.benchmarks.grading [--number 30] [--rounds 3] [--jobs 2] [--on-cluster]`. Each
submission has one answer of the bank in each gap, half of them right, so that every mark is known:
the marks are compared with that, and between the rounds. With --on-cluster the nodes of a class
cluster of the benchmark's own do it. Bar: 12 a minute on 2 cores.
"""

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbgrader.apps import NbGraderAPI
from traitlets.config import Config

from assessments.grader import Graded, grade_all
from labs import build
from tests.benchmarks.cluster import workshop

LAB = "03_data_parallel"
BANK = build.COURSE / "answers" / LAB
BAR = 12.0


def answers(exercise: str, kind: str) -> list[Path]:
    """Return the bank's answers of a kind; what the hidden tests alone refuse is wrong, too."""
    return sorted((BANK / exercise).glob(f"{kind}_*.py"))


def hand_in(course: Path, number: int) -> dict[str, dict[str, float]]:
    """Fill `submitted/`; return each student's expected marks."""
    lab = next(lab for lab in build.read_labs() if lab.name == LAB)
    points = {
        cell.metadata.nbgrader.grade_id: float(cell.metadata.nbgrader.points)
        for cell in lab.source.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    }
    expected: dict[str, dict[str, float]] = {}
    for index in range(number):
        notebook = nbformat.read(course / "release" / LAB / f"{LAB}.ipynb", as_version=4)
        student, marks = f"student_{index:02}", dict.fromkeys(points, 0.0)
        for place, cell in enumerate(notebook.cells):
            grade_id = cell.metadata.get("nbgrader", {}).get("grade_id", "")
            if not cell.metadata.get("nbgrader", {}).get("solution"):
                continue
            if not (BANK / grade_id).is_dir():  # no function
                cell.source = lab.source.cells[place].source
                continue
            right = (index + place) % 2 == 0
            choice = answers(grade_id, "right" if right else "wrong")
            cell.source = choice[(index // 2) % len(choice)].read_text()
            marks[f"{grade_id}_test"] = points[f"{grade_id}_test"] * right
        folder = course / "submitted" / student / LAB
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / f"{LAB}.ipynb")
        expected[student] = marks
    return expected


def make_course(course: Path) -> None:
    """Make nbgrader's folder with the lab's source and release."""
    for path, text in build.source_notebooks(course=course).items():
        if path.parent.name == LAB:
            path.parent.mkdir(parents=True)
            path.write_text(text)
    config = Config()
    config.CourseDirectory.root = str(course)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = NbGraderAPI(config=config).generate_assignment(LAB)
    if not done["success"]:
        sys.exit(str(done))


def measure(course: Path, number: int, rounds: int, jobs: int, on_cluster: bool) -> None:
    make_course(course)
    expected = hand_in(course, number)
    rates, seen = [], []
    where = "as jobs of the class cluster" if on_cluster else "here"
    print(
        f"{number} submissions of {LAB}, {jobs} at a time, {where}; load {os.getloadavg()[0]:.1f}"
    )
    for turn in range(rounds):
        began_s = time.monotonic()
        results = grade_all(
            course, LAB, list(expected), jobs=jobs, given_out_s=0, on_cluster=on_cluster
        )
        seconds = time.monotonic() - began_s
        rates.append(60 * number / seconds)
        seen.append({result.student: result.marks for result in results})
        print(f"round {turn + 1}: {seconds:.0f} s, {rates[-1]:.1f} a minute{_faults(results)}")
        for student, marks in expected.items():
            if seen[-1][student] != marks:
                print(f"  {student}: expected {marks}, got {seen[-1][student]}")
    print(
        f"median {statistics.median(rates):.1f} a minute, {statistics.median(rates) / BAR:.2f} of "
        f"the bar of {BAR:g}; the marks are {'the same' if _same(seen) else 'NOT the same'} in "
        f"{rounds} rounds, and {'those' if _same([*seen, expected]) else 'NOT those'} of the bank"
    )


def _same(marks: list[dict[str, dict[str, float]]]) -> bool:
    return all(other == marks[0] for other in marks)


def _faults(results: list[Graded]) -> str:
    looks = [f"\n  {r.student}: {r.to_look_at}" for r in results if r.to_look_at]
    return "".join(looks)


def main() -> None:
    parser = argparse.ArgumentParser(description="submissions graded in a minute")
    parser.add_argument("--number", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--on-cluster", action="store_true")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.on_cluster and asked.inside is None:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["WORKSHOP_BASE"] = folder
            workshop("up", "--no-jupyter")
            try:
                words = [sys.executable, "-m", "tests.benchmarks.grading", *sys.argv[1:]]
                words += ["--inside", f"{folder}/course"]
                line = f"cd {shlex.quote(str(build.LABS.parent))} && {shlex.join(words)}"
                subprocess.run([sys.executable, "-m", "slurm_env", "shell", "-c", line], check=True)
            finally:
                workshop("down")
        return
    with tempfile.TemporaryDirectory() as folder:
        course = asked.inside or Path(folder)
        course.mkdir(exist_ok=True)
        measure(course, asked.number, asked.rounds, asked.jobs, asked.on_cluster)


if __name__ == "__main__":
    main()
