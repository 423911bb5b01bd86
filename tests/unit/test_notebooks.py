"""The learner's workspace and JupyterLab's socket: what is theirs stays, links stay good."""

import json

from course_lib.membership import Membership, write_membership
from slurm_env import notebooks


def test_a_notebook_is_copied_once_and_never_overwritten(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))
    assert notebooks.start_page() == "/lab"
    copied = notebooks.copy_workspace()
    assert "start_here.ipynb" in copied
    assert notebooks.start_page() == "/lab/tree/start_here.ipynb"
    mine = tmp_path / "workspace" / "start_here.ipynb"
    mine.write_text("my work")
    assert notebooks.copy_workspace() == []
    assert mine.read_text() == "my work"
    assert sorted(path.name for path in mine.parent.rglob("*.*")) == sorted(copied)


def test_a_numbered_lab_lies_in_its_folder_unless_it_lay_beside(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))
    beside = tmp_path / "workspace" / "03_data_parallel.ipynb"
    beside.parent.mkdir()
    beside.write_text("my work")
    notebooks.copy_workspace()
    assert not (beside.parent / "03_data_parallel").exists()
    beside.unlink()
    assert notebooks.copy_workspace() == ["03_data_parallel.ipynb"]
    assert (beside.parent / "03_data_parallel" / "03_data_parallel.ipynb").is_file()


def test_the_formgrader_is_for_who_teaches(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))
    folder = tmp_path / "jupyter" / "config"

    def offered() -> tuple[bool, bool]:
        notebooks.write_settings(8888)
        server = "'nbgrader.server_extensions.formgrader': True"
        page = json.loads((folder / "labconfig" / "page_config.json").read_text())
        menu = "@jupyter/nbgrader:formgrader" not in page["disabledExtensions"]
        return server in (folder / "jupyter_server_config.py").read_text(), menu

    assert offered() == (False, False)
    class_ = {"course": "llm", "exchange": tmp_path / "exchange"}
    write_membership(Membership(**class_))
    assert offered() == (False, False)
    write_membership(Membership(**class_, folder=tmp_path / "workspace" / "class"))
    assert offered() == (True, True)


def test_settings_are_private_and_keep_the_token(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))
    notebooks.write_settings(8888)
    token = (tmp_path / "jupyter" / "token").read_text()
    notebooks.write_settings(8889)
    assert (tmp_path / "jupyter" / "token").read_text() == token
    settings = tmp_path / "jupyter" / "config" / "jupyter_server_config.py"
    assert settings.stat().st_mode & 0o077 == 0
    assert "c.ServerApp.port = 8889" in settings.read_text()


def test_the_last_port_is_kept_unless_somebody_has_it() -> None:
    with notebooks.open_listener(0) as first:
        port = first.getsockname()[1]
        with notebooks.open_listener(port) as second:
            assert second.getsockname()[1] != port
    with notebooks.open_listener(port) as again:
        assert again.getsockname() == ("127.0.0.1", port)
