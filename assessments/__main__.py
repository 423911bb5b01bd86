"""The class's half of the `workshop` command: `class init|join|release|...` and `submit-lab`.

Also `python -m assessments ...`, which is what `workshop` runs for these words. nbgrader takes
seconds to import, so each command does all its work in one process and imports it only when needed.
"""

import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from assessments.course import ClassError, Course, clock, find_lab, open_course

Labs = Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="LAB...")]
Lab = Annotated[Positional[str], tyro.conf.arg(metavar="LAB")]
T = TypeVar("T")


def class_init(args: list[str]) -> int:
    """Run `workshop class init`."""

    def parse(
        folder: Annotated[Positional[str | None], tyro.conf.arg(metavar="FOLDER")] = None,
        course: str | None = None,
        exchange: str | None = None,
        labs: str | None = None,
    ) -> tuple[Path | None, str | None, Path | None, Path | None]:
        """Make a course, or bring its labs up to date; submissions and marks are not touched.

        Args:
            folder: the course folder; left out, "class" in the workspace.
            course: the course's name; left out, "workshop".
            exchange: folder that all learners reach; left out, one that only you reach.
            labs: folder with labs of your own (NAME/lab.py); left out, the kit's.
        """
        return _path(folder), course, _path(exchange), _path(labs)

    folder, name, exchange, labs = _parse(parse, "class init", args)
    from assessments.course import init_course

    done = init_course(folder, name=name, exchange=exchange, labs=labs)
    course = done.course
    print(f"course:     {course.name} in {course.folder}" + ("" if done.fresh else " (as it was)"))
    for what, names in (("new", done.built), ("changed", done.changed)):
        for lab in names:
            again = (course.outbound / lab).is_dir()
            remark = f": give it out again with `workshop class release {lab}`" if again else ""
            print(f"lab:        {lab} ({what}){remark}")
    if not done.built and not done.changed:
        print(f"labs:       {len(course.assignments())}, none has changed")
    print(f"exchange:   {course.exchange}")
    if done.closed_parent:
        print(
            f"            only your account reaches it ({done.closed_parent} is closed to others)."
            "\n            For others: workshop class init FOLDER --exchange DIR, DIR open to all"
        )
    else:
        quoted = shlex.quote(str(course.exchange))
        print(f"            each learner joins once: workshop class join {quoted}")
    print(f"Formgrader: {_where_formgrader(course)}")
    print("Next:       workshop class release LAB")
    return 0


def _where_formgrader(course: Course) -> str:
    from course_lib.places import workspace_dir

    if workspace_dir() in course.folder.parents:
        return "in JupyterLab, menu Nbgrader; if that runs: `workshop down`, then `workshop up`"
    return f"cd {course.folder}, and start `jupyter lab` there"


def class_join(args: list[str]) -> int:
    """Run `workshop class join DIR`."""

    def parse(
        exchange: Annotated[Positional[str], tyro.conf.arg(metavar="DIR")],
        course: str | None = None,
        student: str | None = None,
    ) -> tuple[Path, str | None, str | None]:
        """Join a class as a learner: for `workshop submit-lab` and JupyterLab's Assignment List.

        Args:
            exchange: the class's exchange folder.
            course: the course's name, if the folder has several.
            student: name to hand in under, where several people share an account.
        """
        return Path(exchange), course, student

    exchange, course, student = _parse(parse, "class join", args)
    from assessments.handing_in import given_out, join
    from course_lib.membership import write_membership

    joined = join(exchange, course, student)
    write_membership(joined)
    print(f"You are in the class {joined.course}. Given out: {', '.join(given_out(joined)) or '-'}")
    print("JupyterLab: menu Nbgrader > Assignment List. Hand in: workshop submit-lab LAB")
    return 0


def class_release(args: list[str]) -> int:
    """Run `workshop class release LAB...`."""

    def parse(labs: Labs, course_dir: str | None = None) -> tuple[tuple[str, ...], Path | None]:
        """Give labs out: learners can fetch them at once.

        Args:
            labs: numbers or names of labs.
            course_dir: the course folder; left out, that of the class you teach.
        """
        return labs, _path(course_dir)

    labs, folder = _parse(parse, "class release", args)
    course = open_course(folder)
    names = [_lab(course, lab) for lab in _some(labs, course)]
    from assessments.releasing import release

    for name in names:
        done = release(course, name)
        when = clock(done.given_out_s)
        if done.news == "same":
            print(f"{name}: nothing has changed since it was given out ({when})")
        elif done.news == "new":
            print(f"{name}: given out, {when}")
        else:
            print(
                f"{name}: its new text is given out (first: {when}). Who has fetched it keeps the "
                "old notebook; grading puts the new tests into it"
            )
        _print_warnings(done.warnings)
    return 0


def class_collect(args: list[str]) -> int:
    """Run `workshop class collect LAB...`."""

    def parse(labs: Labs, course_dir: str | None = None) -> tuple[tuple[str, ...], Path | None]:
        """Take in each learner's newest submission; at any time, and as often as you like.

        Args:
            labs: numbers or names of labs.
            course_dir: the course folder; left out, that of the class you teach.
        """
        return labs, _path(course_dir)

    labs, folder = _parse(parse, "class collect", args)
    course = open_course(folder)
    names = [_lab(course, lab) for lab in _some(labs, course)]
    from assessments.collecting import collect

    for name in names:
        done = collect(course, name)
        table = _table("student", "received", "")
        for student, news in done.news.items():
            table.add_row(student, clock(done.received[student]), "" if news == "same" else news)
        print(f"{name}: {_count(len(done.news), 'submission')}")
        if done.news:
            _console().print(table)
        _print_warnings(done.refused)
        if any(news != "same" for news in done.news.values()):
            print(f"Next: workshop class grade {name}")
    return 0


def class_grade(args: list[str]) -> int:
    """Run `workshop class grade LAB`."""

    def parse(
        lab: Lab,
        students: str | None = None,
        jobs: int | None = None,
        on_cluster: bool = False,
        again: bool = False,
        course_dir: str | None = None,
    ) -> tuple[str, list[str] | None, int, bool, bool, Path | None]:
        """Grade what was collected and is not graded yet; what cannot be graded is listed.

        Args:
            lab: number or name of a lab.
            students: only these, with commas between.
            jobs: how many at the same time; left out, one for each core.
            on_cluster: grade in jobs on the class cluster.
            again: also what is graded already.
            course_dir: the course folder; left out, that of the class you teach.
        """
        named = None if students is None else [n.strip() for n in students.split(",") if n.strip()]
        cores = len(os.sched_getaffinity(0)) if jobs is None else jobs
        return lab, named, cores, on_cluster, again, _path(course_dir)

    lab, students, jobs, on_cluster, again, folder = _parse(parse, "class grade", args)
    if jobs < 1:
        raise ValueError(f"--jobs {jobs}: at least 1")
    course = open_course(folder)
    name = _lab(course, lab)
    from assessments.grading import grade, waiting

    queue = waiting(course, name, students, again)
    if not queue:
        print(f"{name}: everything collected is graded. Once more: --again")
        return 0
    from rich.progress import Progress

    from assessments.grader import Graded

    console = _console()
    results: list[Graded] = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"grading {name}", total=len(queue))

        def tell(result: Graded) -> None:
            results.append(result)
            progress.advance(task)
            if not console.is_terminal:  # a log file: one line for each
                console.print(f"{len(results)}/{len(queue)} {result.student}", highlight=False)

        grade(course, name, queue, jobs=jobs, on_cluster=on_cluster, on_result=tell)
    table = _table("student", "marks", "seconds", "to look at")
    for result in sorted(results, key=lambda result: result.student):
        known = [mark for mark in result.marks.values() if mark is not None]
        marks = f"{sum(known):g}" if known else "-"
        why = [f"{what}: {w}" if what else w for what, w in result.to_look_at.items()]
        points = f"{sum(result.points.values()):g}"
        table.add_row(result.student, f"{marks}/{points}", f"{result.seconds:.1f}", "\n".join(why))
    console.print(table)
    look = sum(bool(result.to_look_at) for result in results)
    if look:
        print(
            f"To look at: {_count(look, 'submission')}; a mark given in the Formgrader settles it."
        )
    print(f"Next: workshop class feedback {name}")
    return 0


def class_feedback(args: list[str]) -> int:
    """Run `workshop class feedback LAB`."""

    def parse(
        lab: Lab, show_hidden_tests: bool = False, course_dir: str | None = None
    ) -> tuple[str, bool, Path | None]:
        """Write each learner's feedback and give it out; again after marks have changed.

        Args:
            lab: number or name of a lab.
            show_hidden_tests: with the hidden tests and what they put out.
            course_dir: the course folder; left out, that of the class you teach.
        """
        return lab, show_hidden_tests, _path(course_dir)

    lab, show_hidden_tests, folder = _parse(parse, "class feedback", args)
    course = open_course(folder)
    name = _lab(course, lab)
    from assessments.feedback import give_feedback
    from assessments.marks import read_marks

    done = give_feedback(course, name, show_hidden_tests=show_hidden_tests)
    shown = "with the hidden tests" if show_hidden_tests else "without the hidden tests"
    print(f"{name}: {_count(len(done.given), 'learner')} can fetch feedback ({shown})")
    for student, why in done.kept_back.items():
        print(f"  {student}: {why}")
    marks = read_marks(course, [name])
    open_ = [student for student in done.given if marks[student][name].to_look_at]
    if open_:
        print(f"  still to look at: {', '.join(open_)}. Give feedback again after that")
    return 1 if done.kept_back else 0


def class_export(args: list[str]) -> int:
    """Run `workshop class export`."""

    def parse(to: str = "marks.csv", course_dir: str | None = None) -> tuple[Path, Path | None]:
        """Write all marks as CSV; what could not be graded says so, and is not a 0.

        Args:
            to: the file to write.
            course_dir: the course folder; left out, that of the class you teach.
        """
        return Path(to).expanduser().absolute(), _path(course_dir)

    to, folder = _parse(parse, "class export", args)
    course = open_course(folder)
    if not to.parent.is_dir():
        raise ValueError(f"--to {to}: there is no folder {to.parent}")
    from assessments.marks import export

    marks = export(course, to)
    console = _console()
    print(f"wrote {to}: {_count(len(marks), 'learner')}")
    table = _table("student", "lab", "state", "why")
    for student, labs in marks.items():
        for lab, mark in labs.items():
            if mark.to_look_at:
                table.add_row(student, lab, mark.state, mark.why())
    if table.row_count:
        console.print(table)
    return 0


def submit_lab(args: list[str]) -> int:
    """Run `workshop submit-lab LAB`."""

    def parse(
        lab: Lab, runs: str | None = None, anyway: bool = False
    ) -> tuple[str, list[str], bool]:
        """Hand in your work on a lab, as often as you like: the newest counts.

        Args:
            lab: number or name of a lab.
            runs: run folders whose receipts belong to it, with commas between.
            anyway: hand in a notebook even if cells are lost or doubled.
        """
        return lab, [name.strip() for name in (runs or "").split(",") if name.strip()], anyway

    lab, runs, anyway = _parse(parse, "submit-lab", args)
    from assessments.handing_in import find_notebook, given_out, hand_in, inspect, member
    from course_lib.membership import MAX_SUBMISSION_BYTES

    of = member()
    name = find_lab(
        given_out(of), lab, where=f"Given out in the class {of.course}", remedy="Name one of these"
    )
    notebook, remark = find_notebook(name)
    print(f"{notebook}, as saved at {clock(notebook.stat().st_mtime)}")
    if remark:
        print(f"note: {remark}")
    released = of.exchange / of.course / "outbound" / name / f"{name}.ipynb"
    found = inspect(notebook, released)
    wrong = []
    if found.missing:
        wrong.append(
            f"these cells are gone: {', '.join(found.missing)} (undo the deletion, or copy them "
            f"from {released})"
        )
    if found.doubled:
        wrong.append(
            f"these cells are there more than once: {', '.join(found.doubled)} (delete the copies)"
        )
    if wrong and not anyway:
        raise ValueError(
            f"{notebook}: {'; '.join(wrong)}. Save, and hand in again. With --anyway it is handed "
            "in as it is, and loses their marks"
        )
    for line in wrong:
        print(f"note: {line}")
    if found.empty:
        print(f"note: still empty: {', '.join(found.empty)}. Handed in all the same")
    done = hand_in(of, name, notebook, runs)
    print(f"{name} was received by the class {done.course}: {clock(done.received)}")
    for file, num_bytes in done.files.items():
        print(f"  {num_bytes / 1000:8.1f} kB  {file}")
    total, limit = sum(done.files.values()) / 1e6, MAX_SUBMISSION_BYTES / 1e6
    print(f"  {total:.1f} of {limit:.0f} MB. You may hand in again: the newest counts.")
    return 0


# --- what they share ----------------------------------------------------------------------------


def _parse(function: Callable[..., T], command: str, args: list[str]) -> T:
    config = (tyro.conf.FlagCreatePairsOff,)
    return tyro.cli(function, prog=f"workshop {command}", args=args, config=config)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text).expanduser().absolute()


def _lab(course: Course, given: str) -> str:
    return find_lab(
        course.assignments(),
        given,
        where=f"Labs in {course.folder / 'source'}",
        remedy="`workshop class init` adds what is new in the kit",
    )


def _some(labs: tuple[str, ...], course: Course) -> tuple[str, ...]:
    if not labs:
        raise ValueError(f"name a lab: {', '.join(course.assignments())}")
    return labs


def _console() -> Console:
    # Into a file or a pipe: wide enough that a reason stays in one piece.
    return Console() if sys.stdout.isatty() else Console(width=160)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _print_warnings(lines: Sequence[str]) -> None:
    for line in lines:
        print(f"  note: {line}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


CLASS = {
    "init": (class_init, "Make a course, or bring its labs up to date"),
    "join": (class_join, "Join a class, as a learner"),
    "release": (class_release, "Give labs out"),
    "collect": (class_collect, "Take in what was handed in"),
    "grade": (class_grade, "Grade it; list what a person has to look at"),
    "feedback": (class_feedback, "Give feedback"),
    "export": (class_export, "Write all marks as CSV"),
}


def help_text() -> str:
    """Return what `workshop class --help` prints."""
    lines = ["workshop class COMMAND [options]      (workshop class COMMAND --help says more)", ""]
    return "\n".join([*lines, *(f"  {name:<12}{what}" for name, (_, what) in CLASS.items())])


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong usage."""
    command, *rest = list(sys.argv[1:] if argv is None else argv) or ["class"]
    # What nbgrader's use of SQLAlchemy makes that say is nothing to a reader.
    warnings.filterwarnings("ignore", message="Object of type <Submitted")
    run: Callable[[list[str]], Any] = submit_lab
    title = command
    if command == "class":
        if not rest or rest[0] in ("-h", "--help", "help"):
            print(help_text())
            return 0 if rest else 2
        title = f"class {rest[0]}"
    try:
        if command == "class":
            if rest[0] not in CLASS:
                raise ValueError(f"no command {rest[0]!r}. There are: {', '.join(CLASS)}")
            run, rest = CLASS[rest[0]][0], rest[1:]
        return run(rest)
    except (ClassError, ValueError, OSError) as error:
        if os.environ.get("WORKSHOP_TRACEBACK"):
            raise
        print(f"workshop {title}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    except KeyboardInterrupt:
        print(f"workshop {title}: interrupted; what was done is kept", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
