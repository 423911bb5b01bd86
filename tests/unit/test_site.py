"""Site files: read with types, refused by name."""

import dataclasses
import tomllib

import pytest

from course_lib.slurm.site import SITES_DIR, Site, load_site, site_from_table


def test_every_site_file_of_the_kit_is_valid_and_bears_its_own_name():
    paths = sorted(SITES_DIR.glob("*.toml"))
    assert len(paths) >= 2
    for path in paths:
        assert load_site(path).name == path.stem


def test_class_site_is_the_default(monkeypatch):
    monkeypatch.delenv("WORKSHOP_SITE", raising=False)
    assert load_site().name == "class"


def test_workshop_site_names_the_default(monkeypatch, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n')
    monkeypatch.setenv("WORKSHOP_SITE", str(path))
    assert load_site() == Site(name="mine")


def test_all_keys_are_read(tmp_path):
    # Each field of Site, written as TOML, must come back: a new field needs no change here.
    text = 'name = "full"\ndevice = "cuda"\nbackend = "nccl"\n'
    samples = {str: '"x1"', int: "7", tuple[str, ...]: '["one", "two"]'}
    for each in dataclasses.fields(Site):
        if each.name not in ("name", "device", "backend", "env"):
            text += f"{each.name} = {samples[each.type]}\n"
    path = tmp_path / "full.toml"
    path.write_text(text + '[env]\nA = "1"\n')
    site = load_site(path)
    assert site.max_nodes == 7
    assert site.prelude == ("one", "two")
    assert site.env == {"A": "1"}
    assert site.network_interface == "x1"


def test_unknown_key_names_file_key_and_known_keys():
    with pytest.raises(ValueError, match=r"my\.toml: unknown key 'partion'.*partition") as error:
        site_from_table({"name": "x", "partion": "gpu"}, source="my.toml")
    assert "max_nodes" in str(error.value)


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('max_nodes = "four"', r"max_nodes = 'four': it must be a whole number"),
        ("max_nodes = true", "max_nodes = True: it must be a whole number"),
        ("partition = 3", "partition = 3: it must be text"),
        (
            'prelude = "module load cuda"',
            "prelude = 'module load cuda': it must be a list of texts",
        ),
        ("env = {OMP_NUM_THREADS = 1}", "it must be a table of texts"),
        ('env = {"A-B" = "1"}', "'A-B' is no variable name"),
        ("max_nodes = 0", "max_nodes is 0; it is at least 1"),
        ('partition = "a b"', "'a b' holds a space"),
        ('device = "gpu"', "device is 'gpu'; write 'cpu' or 'cuda'"),
        ('backend = "nccl"', "nccl moves GPU memory only"),
        ('device = "cuda"', "gpus_per_node is 0"),
        ("default_time_min = 90", "default_time_min 90 lies outside"),
    ],
)
def test_wrong_values_are_refused_with_the_key(toml, words):
    with pytest.raises(ValueError, match=words):
        site_from_table({"name": "x", **tomllib.loads(toml)}, source="my.toml")


def test_missing_name():
    with pytest.raises(ValueError, match='my.toml: the key "name" is missing'):
        site_from_table({}, source="my.toml")


def test_unknown_site_lists_the_known_ones():
    with pytest.raises(ValueError, match="no site 'clas'.*class, gpu-example"):
        load_site("clas")


def test_broken_toml_names_the_file(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("name = class\n")
    with pytest.raises(ValueError, match="broken.toml: this is not TOML"):
        load_site(path)
