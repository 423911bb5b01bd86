"""The `workshop` command: one door to the class cluster, the trainer, SLURM and the course.

Each command is a function whose arguments are the options (tyro builds the parser from its
signature). `submit` and `train` take a preset and then any field of its RunConfig as an option:

    workshop submit nano --nodes 2 --train.steps 50 --watch

SLURM lives on the login node. Called outside it, the SLURM commands of the class site run
themselves there through `slurm_env`, which this package starts but never imports; so it does with
`assessments`, which holds the commands of the course. Everything heavy is imported by the command
that needs it: `workshop --help` has to answer at once.
"""

import dataclasses
import difflib
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro
from tyro.conf import Positional

from course_lib.config import RunConfig
from course_lib.presets import PRESETS
from course_lib.slurm.client import SlurmError
from course_lib.slurm.site import load_site

CLUSTER_COMMANDS = {
    "up": "Start the class cluster and JupyterLab",
    "down": "Stop them; work on disk is kept",
    "status": "What runs, and at which address",
    "doctor": "Check this machine, with a remedy for each problem",
    "shell": "Open a shell on the login node (or run: shell -c COMMAND)",
    "node": "Switch a node off and on",
    "link": "Slow down or cut a node's network link",
}
RUN_COMMANDS = {
    "submit": "Send a training run to SLURM",
    "jobs": "Your jobs, and how much of what they reserved they used",
    "watch": "Follow a job to its end",
    "train": "Train here, without SLURM",
    "data": "Prepare a corpus and its tokenizer",
    "profile": "Say where the time of a run's recorded steps went, and what to change",
    "tensorboard": "Show a run in TensorBoard, without any network",
    "calibrate": "Measure messages, products and copies, here or between nodes",
    "plan": "Which layout, how long, how much memory and money, on GPUs you may not have",
    "export": "Write a trained model as a Hugging Face GPT-2 folder",
    "import": "Make a run folder of a Hugging Face GPT-2 folder",
}

CLASS_COMMANDS = {
    "class": "Teach: init, release, collect, grade, feedback, export. Learn: join",
    "submit-lab": "Hand in your work on a lab",
}


@dataclass(frozen=True, kw_only=True)
class SubmitOptions:
    """Where and how the job runs."""

    nodes: int = 1
    """Nodes to reserve."""
    ntasks_per_node: int = 1
    """Ranks (processes) on each node."""
    time: str | None = None
    """Time limit: whole minutes or HH:MM:SS; left out, the site's."""
    max_restarts: int = 0
    """How often torchrun starts the ranks again, from the last checkpoint, if one dies."""
    watch: bool = False
    """Follow the job to its end."""
    dry_run: bool = False
    """Print the job script and submit nothing."""
    site: str | None = None
    """Site name or .toml file; left out, $WORKSHOP_SITE or the class cluster."""
    qos: str | None = None
    """Quality of service, instead of the site's."""
    partition: str | None = None
    """Partition, instead of the site's."""
    corpus: str | None = None
    """Folder of text to learn from; short for --data.corpus."""
    on_nonfinite: Literal["stop", "skip"] | None = None
    """What to do at a loss that is no number; short for --train.on-nonfinite."""
    slow: str | None = None
    """Bottlenecks to plant, with commas between; short for --train.slow."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How many processes train here."""

    ranks: int = 1
    """Processes on this machine; more than one are started by torchrun."""
    max_restarts: int = 0
    """How often torchrun starts the ranks again, from the last checkpoint, if one dies."""
    corpus: str | None = None
    """Folder of text to learn from; short for --data.corpus."""
    on_nonfinite: Literal["stop", "skip"] | None = None
    """What to do at a loss that is no number; short for --train.on-nonfinite."""
    slow: str | None = None
    """Bottlenecks to plant, with commas between; short for --train.slow."""


T = TypeVar("T")
Options = TypeVar("Options", SubmitOptions, TrainOptions)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong usage."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0 if args else 2
    command, rest = args[0], args[1:]
    try:
        if command in CLUSTER_COMMANDS:
            return _hand_over([sys.executable, "-P", "-m", "slurm_env", command, *rest])
        if command in CLASS_COMMANDS:
            if rest[:1] == ["grade"] and _outside(load_site().name) and _cluster_runs():
                # Accounting, which knows what learners' jobs were, answers on the login node.
                return _on_login_node(command, rest)
            return _hand_over([sys.executable, "-P", "-m", "assessments", command, *rest])
        if command not in RUN_COMMANDS:
            known = [*CLUSTER_COMMANDS, *RUN_COMMANDS, *CLASS_COMMANDS]
            raise ValueError(_unknown("command", command, known))
        return _COMMANDS[command](rest)
    except (ValueError, SlurmError, OSError) as error:
        if os.environ.get("WORKSHOP_TRACEBACK"):
            raise
        print(f"workshop {command}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1


def help_text() -> str:
    """Return what `workshop --help` prints."""
    lines = ["workshop COMMAND [options]      (workshop COMMAND --help says more)", ""]
    for title, commands in (
        ("The class cluster", CLUSTER_COMMANDS),
        ("Training", RUN_COMMANDS),
        ("The course", CLASS_COMMANDS),
    ):
        lines += [title, *(f"  {name:<12}{what}" for name, what in commands.items()), ""]
    lines.append("Begin with: workshop up")
    return "\n".join(lines)


def submit(args: list[str]) -> int:
    """Run `workshop submit PRESET ...`."""
    options, run = _parse_run("submit", args, SubmitOptions())
    # Read the site first: its name decides where this command has to run.
    site = load_site(options.site)
    changes = {"qos": options.qos, "partition": options.partition}
    site = dataclasses.replace(site, **{key: value for key, value in changes.items() if value})
    from course_lib.slurm.notation import parse_time_limit_s

    time_limit_s = parse_time_limit_s(options.time) if options.time else None

    # Checked on this side of the border too: a wrong number is told at once.
    from course_lib.places import runs_dir
    from course_lib.slurm.client import plan_submission

    request: dict[str, Any] = {
        "site": site,
        "nodes": options.nodes,
        "ntasks_per_node": options.ntasks_per_node,
        "time_limit_s": time_limit_s,
        "max_restarts": options.max_restarts,
    }
    submission = plan_submission(run, **request)
    if options.dry_run:
        print(submission.script(runs_dir() / f"{run.name}-YYYYMMDD-HHMMSS"), end="")
        return 0
    if _outside(site.name):
        return _on_login_node("submit", args)

    from course_lib.experiment import start_run

    job = start_run(run, **request)
    if options.watch:
        from course_lib.slurm.watch import watch_job

        return watch_job(job)
    print(f"follow it with: workshop watch {job.job_id}")
    return 0


def train(args: list[str]) -> int:
    """Run `workshop train PRESET ...`."""
    options, run = _parse_run("train", args, TrainOptions())
    from course_lib.layout import check_layout

    check_layout(run, options.ranks)
    from course_lib.runlog import create_run_dir
    from course_lib.train.background import trainer_command
    from course_lib.train.corpus import prepare_data

    prepare_data(run.data.corpus, run.model.vocab_size, val_fraction=run.data.val_fraction)
    run_dir = create_run_dir(run)
    from course_lib.forecasts import write_forecast

    threads = max(1, len(os.sched_getaffinity(0)) // options.ranks)
    foretold = write_forecast(run_dir, run, options.ranks, threads=threads)
    print(f"run folder: {run_dir}" + (f"\n{foretold}" if foretold else ""), flush=True)
    argv = trainer_command(run_dir, options.ranks, max_restarts=options.max_restarts)
    return subprocess.run(argv, check=False).returncode


def jobs(args: list[str]) -> int:
    """Run `workshop jobs`."""

    def parse(days: int = 1, limit: int = 20, json: bool = False) -> tuple[int, int, bool]:
        """Show your jobs: state, and how much of what they reserved they used.

        Args:
            days: how many days to look back.
            limit: how many jobs to show at most.
            json: print JSON for programs.
        """
        return days, limit, json

    days, limit, as_json = _parse(parse, "jobs", args)
    if _outside(load_site().name):
        return _on_login_node("jobs", args)
    from course_lib.slurm.efficiency import jobs_table, list_jobs

    listed = list_jobs(days=days, limit=limit)
    if as_json:
        from json import dumps

        print(dumps(listed.to_json(), indent=2))
        return 0
    from rich.console import Console

    Console().print(jobs_table(listed) if listed.jobs else "you have no jobs yet")
    return 0


def watch(args: list[str]) -> int:
    """Run `workshop watch JOBID`."""

    def parse(job_id: Annotated[Positional[int], tyro.conf.arg(metavar="JOBID")]) -> int:
        """Follow a job to its end; the exit code is 0 only if it completed. Ctrl-C lets it go on.

        Args:
            job_id: the number that submit printed.
        """
        return job_id

    job_id = _parse(parse, "watch", args)
    if _outside(load_site().name):
        return _on_login_node("watch", args)
    from course_lib.slurm.client import find_job
    from course_lib.slurm.watch import watch_job

    return watch_job(find_job(job_id))


def data(args: list[str]) -> int:
    """Run `workshop data`."""

    def parse(corpus: str | None = None, vocab_size: int = 2048) -> tuple[str | None, int]:
        """Prepare a corpus: train its tokenizer and write its tokens to disk (once).

        Args:
            corpus: folder with .txt .md .py .jsonl files; left out, the Python standard library.
            vocab_size: entries in the token table.
        """
        return corpus, vocab_size

    corpus, vocab_size = _parse(parse, "data", args)
    from course_lib.train.corpus import prepare_data

    print(prepare_data(corpus and os.path.abspath(corpus), vocab_size))
    return 0


def profile(args: list[str]) -> int:
    """Run `workshop profile RUN`."""

    def parse(
        run: Annotated[Positional[str], tyro.conf.arg(metavar="RUN")],
        against: str | None = None,
        html: str | None = None,
        json: bool = False,
    ) -> tuple[str, str | None, str | None, bool]:
        """Say where the time of a run's recorded steps went, and what to change.

        Args:
            run: path or name of a run folder with traces (--profile.steps 5:8), or a trace file.
            against: an earlier run to compare with.
            html: write one self-contained page to this file instead.
            json: print JSON for programs.
        """
        return run, against, html, json

    name, other, page, as_json = _parse(parse, "profile", args)
    from course_lib.profile.across import RunProfile, profile_run
    from course_lib.profile.advisor import advise

    def read(given: str) -> RunProfile:
        return profile_run(_profiled(given), lambda line: print(line, file=sys.stderr))

    run, against = read(name), read(other) if other else None
    findings = advise(run)
    from course_lib.profile import report

    if page:
        from course_lib.profile.memory_profile import memory_path, read_memory
        from course_lib.profile.page import html_page
        from course_lib.runlog import write_text

        path, ranks = Path(page).expanduser().resolve(), [rank.rank for rank in run.ranks]
        recorded = [rank for rank in ranks if memory_path(run.run_dir, rank).is_file()]
        memory = [read_memory(run.run_dir, rank) for rank in recorded]
        write_text(path, html_page(run, findings, against, memory))
        print(f"wrote {path}: open it in a browser")
    elif as_json:
        from json import dumps

        print(dumps(report.to_json(run, findings, against), indent=2))
    else:
        print(report.text_report(run, findings), end="")
        if against is not None:
            print(report.comparison_text(report.compare(against, run)), end="")
    return 0


def tensorboard(args: list[str]) -> int:
    """Run `workshop tensorboard RUN`."""

    def parse(
        run: Annotated[Positional[str], tyro.conf.arg(metavar="RUN")], port: int | None = None
    ) -> tuple[str, int | None]:
        """Show a run in TensorBoard, without any network; Ctrl-C stops it.

        Args:
            run: path of a run folder, or its name among the workshop's runs.
            port: where to listen; left out, any free port.
        """
        return run, port

    name, port = _parse(parse, "tensorboard", args)
    from course_lib.profile.tensorboard import serve

    return serve(_run_folder(name), port=port)


def _profiled(name: str) -> Path:
    """Return a folder with traces or a trace, by its path, or else a run folder."""
    from course_lib.profile.across import find_traces

    path = Path(name).expanduser()
    return path if find_traces(path) else _run_folder(name)


def calibrate(args: list[str]) -> int:
    """Run `workshop calibrate`."""
    from course_lib.calibration import CalibrateOptions
    from course_lib.calibration import calibrate as measure

    options = _parse(CalibrateOptions, "calibrate", args)
    if options.nodes and _outside(load_site(options.site).name):
        return _on_login_node("calibrate", args)
    return measure(options)


def plan(args: list[str]) -> int:
    """Run `workshop plan`."""
    from course_lib.planning import PlanOptions
    from course_lib.planning import plan as answer

    return answer(_parse(PlanOptions, "plan", args))


def export_run(args: list[str]) -> int:
    """Run `workshop export RUN DIR`."""

    def parse(
        run: Annotated[Positional[str], tyro.conf.arg(metavar="RUN")],
        folder: Annotated[Positional[str], tyro.conf.arg(metavar="DIR")],
    ) -> tuple[str, str]:
        """Write a trained model as a folder that Hugging Face transformers loads as GPT-2.

        Args:
            run: path of a run folder, or its name among the workshop's runs.
            folder: where to write; it must not exist, or be empty.
        """
        return run, folder

    name, folder = _parse(parse, "export", args)
    run_dir = _run_folder(name)
    from course_lib.model.hf import export_gpt2
    from course_lib.train.sample import load_model

    model, tokenizer, _ = load_model(run_dir)
    written = export_gpt2(model, tokenizer, Path(folder))
    num_bytes = (written / "model.safetensors").stat().st_size
    print(f"wrote {written}: model ({num_bytes / 1e6:.1f} MB), tokenizer and configuration")
    print(f"load it with: transformers.AutoModelForCausalLM.from_pretrained({str(written)!r})")
    return 0


def import_run(args: list[str]) -> int:
    """Run `workshop import DIR`."""

    def parse(
        folder: Annotated[Positional[str], tyro.conf.arg(metavar="DIR")], name: str | None = None
    ) -> tuple[str, str | None]:
        """Make a run folder of a local Hugging Face GPT-2 folder, with its weights as step 0.

        Args:
            folder: holds config.json, model.safetensors and tokenizer.json.
            name: first part of the run folder's name; left out, the name of DIR.
        """
        return folder, name

    given, name = _parse(parse, "import", args)
    folder = Path(given).expanduser().resolve()
    from course_lib.checkpoint import save_weights
    from course_lib.model.hf import import_gpt2
    from course_lib.runlog import create_run_dir, write_text

    model, tokenizer = import_gpt2(folder)
    run = RunConfig(name=name or folder.name, model=model.config, train=PRESETS["nano"]().train)
    run_dir = create_run_dir(run)
    write_text(run_dir / "tokenizer.json", tokenizer.to_str(pretty=True))
    save_weights(run_dir, 0, dict(model.named_parameters()))
    print(f"wrote the run folder {run_dir}: model (step 0), tokenizer and configuration")
    print(f"load it with: course_lib.train.sample.load_model({str(run_dir)!r})")
    return 0


def _run_folder(name: str) -> Path:
    """Return the run folder with this path, or else this name."""
    from course_lib.places import runs_dir

    for folder in (Path(name).expanduser(), runs_dir() / name):
        if (folder / "config.json").is_file():
            return folder
    known = [path.name for path in runs_dir().glob("*/") if not path.name.startswith(".")]
    close = difflib.get_close_matches(name, known, n=1)
    raise ValueError(
        f"no run folder {name!r}, neither here nor in {runs_dir()}."
        + (f" Did you mean {close[0]}?" if close else " Name one that `workshop train` printed")
    )


_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "submit": submit,
    "jobs": jobs,
    "watch": watch,
    "train": train,
    "data": data,
    "profile": profile,
    "tensorboard": tensorboard,
    "calibrate": calibrate,
    "plan": plan,
    "export": export_run,
    "import": import_run,
}


def _parse(function: Callable[..., T], command: str, args: list[str]) -> T:
    # A flag is either there or not: no second spelling `--no-watch`.
    config = (tyro.conf.FlagCreatePairsOff,)
    return tyro.cli(function, prog=f"workshop {command}", args=args, config=config)


def _parse_run(command: str, args: list[str], defaults: Options) -> tuple[Options, RunConfig]:
    """Read `PRESET [options] [fields of the run]`; the preset gives every field its default."""
    asks_help = bool({"-h", "--help"} & set(args))
    if args and not args[0].startswith("-"):
        preset, rest = args[0], args[1:]
    elif asks_help:
        preset, rest = "nano", args  # some preset has to fill in the defaults that help shows
    else:
        raise ValueError(
            f"name a preset first: workshop {command} PRESET. Presets: {', '.join(PRESETS)}"
        )
    if preset not in PRESETS:
        raise ValueError(_unknown("preset", preset, list(PRESETS)))

    options_type = type(defaults)

    def parse(
        options: Annotated[options_type, tyro.conf.arg(name="")] = defaults,  # type: ignore[valid-type]
        run: Annotated[RunConfig, tyro.conf.arg(name="")] = PRESETS[preset](),  # noqa: B008
    ) -> tuple[Any, RunConfig]:
        return options, run

    parse.__doc__ = f"{RUN_COMMANDS[command]}. Presets: {', '.join(PRESETS)}."
    options, run = _parse(parse, f"{command} PRESET", rest)
    corpus = options.corpus or run.data.corpus
    if corpus is not None:  # the job runs in another folder
        corpus = os.path.abspath(os.path.expanduser(corpus))
    run = dataclasses.replace(run, data=dataclasses.replace(run.data, corpus=corpus))
    short = {"on_nonfinite": options.on_nonfinite, "slow": options.slow}
    given = {name: value for name, value in short.items() if value is not None}
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, **given))
    return options, run


def _outside(site_name: str) -> bool:
    """Tell whether this is the class site, seen from outside its login node."""
    return site_name == "class" and not os.environ.get("WORKSHOP_INSIDE")


def _cluster_runs() -> bool:
    """Tell whether the class cluster runs, so that something can run on its login node."""
    argv = [sys.executable, "-P", "-m", "slurm_env", "status", "--json"]
    try:
        return subprocess.run(argv, capture_output=True, timeout=30).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _on_login_node(command: str, args: list[str]) -> int:
    """Run this very command on the class cluster's login node; return its exit code."""
    inside = [sys.executable, "-P", "-m", "course_lib.cli", command, *absolute_paths(args)]
    return _hand_over([sys.executable, "-P", "-m", "slurm_env", "shell", "-c", shlex.join(inside)])


_PATHS = ("--corpus", "--data.corpus", "--site", "--out", "--course-dir")


def absolute_paths(args: Sequence[str]) -> list[str]:
    """Return the arguments with paths made absolute: the login node has another current folder."""
    result: list[str] = []
    for arg in args:
        option, equals, value = arg.partition("=")
        if equals and option in _PATHS:
            result.append(f"{option}={_absolute(option, value)}")
        elif result and result[-1] in _PATHS:
            result.append(_absolute(result[-1], arg))
        else:
            result.append(arg)
    return result


def _absolute(option: str, value: str) -> str:
    if option == "--site" and not value.endswith(".toml"):
        return value  # a site's name
    return os.path.abspath(os.path.expanduser(value))


def _hand_over(argv: list[str]) -> int:
    """Become another program; its exit code becomes ours."""
    sys.stdout.flush()
    os.execv(argv[0], argv)


def _unknown(kind: str, given: str, known: list[str]) -> str:
    close = difflib.get_close_matches(given, known, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"no {kind} {given!r}.{hint} There are: {', '.join(known)}"


if __name__ == "__main__":
    sys.exit(main())
