"""The learner's workspace and JupyterLab's socket: what is theirs stays, links stay good."""

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
    assert sorted(path.name for path in mine.parent.iterdir()) == sorted(copied)


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
