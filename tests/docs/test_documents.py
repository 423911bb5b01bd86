"""What the documents name exists: files of the map, links, make targets, workshop commands."""

import re
import subprocess
from pathlib import Path

import pytest

from course_lib.cli import CLASS_COMMANDS, CLUSTER_COMMANDS, RUN_COMMANDS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), ROOT / "slides/INSTRUCTOR.md"]
FOLDERS = {"labs", "course_lib", "slurm_env", "assessments", "slides", "tests", ".ci"}


def tracked() -> list[str]:
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in names.stdout.splitlines() if (ROOT / name).exists()]


def file_map() -> list[str]:
    block = (ROOT / "README.md").read_text().split("## File map")[1].split("```")[1]
    return [line.split()[0] for line in block.strip().splitlines() if not line.startswith(" ")]


def test_file_map_names_only_what_exists() -> None:
    for entry in file_map():
        assert list(ROOT.glob(entry.rstrip("/"))), f"README's file map names {entry}"


def test_file_map_covers_every_file() -> None:
    entries = file_map()
    for name in tracked():
        covered = any(
            name == entry or name.startswith(entry) and entry.endswith("/") for entry in entries
        ) or any(name in {str(p.relative_to(ROOT)) for p in ROOT.glob(e)} for e in entries)
        assert covered, f"README's file map does not name {name}"


def test_top_level_has_no_other_folders() -> None:
    assert {name.split("/")[0] for name in tracked() if "/" in name} <= FOLDERS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist(document: Path) -> None:
    text = document.read_text()
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, flags=re.DOTALL))
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for target in re.findall(r"\bmake ([a-z]+)", code):
        assert target in targets, f"{document.name} says `make {target}`"
    for command in re.findall(r"\bworkshop ([a-z]+)\b", code):
        known = [*CLUSTER_COMMANDS, *RUN_COMMANDS, *CLASS_COMMANDS]
        assert command in known, f"{document.name} says `workshop {command}`"


def test_no_machine_paths_and_no_registry_hosts() -> None:
    # Put together here, so that this file does not name what it forbids.
    hosts = ["py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "deb" + ".debian.org"]
    forbidden = [*hosts, "/work" + "/main", "/ro" + "ot/"]
    for name in tracked():
        text = (ROOT / name).read_text(errors="replace")
        for word in forbidden:
            assert word not in text, f"{name} contains {word}"


def test_site_constants_stand_in_site_files_only() -> None:
    """Labs and presets name no partition, account or QOS."""
    for name in tracked():
        if name.startswith("labs/") or name == "course_lib/presets.py":
            text = (ROOT / name).read_text(errors="replace")
            found = re.findall(r"(?:partition|account|qos|reservation)\s*=\s*[\"']\w+", text)
            assert not found, f"{name}: {found}"
