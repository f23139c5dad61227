"""Promises of ``llasa_lib.files``: a file is whole or absent, and a fingerprint changes when its meaning does."""

import json
import os
import tempfile
from pathlib import Path

import pytest
from damage import NO_OBJECTS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llasa_lib import files
from llasa_lib.errors import ArtifactError

single = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
plain = single | st.lists(single, max_size=3) | st.dictionaries(st.text(max_size=4), single, max_size=3)
few = settings(max_examples=40, deadline=None)


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


# --- atomic -------------------------------------------------------------------------------------------------------


def test_a_file_appears_whole_when_the_block_ends(tmp_path):
    target = tmp_path / "deep" / "report.json"
    with files.atomic(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert leftovers(target.parent) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(old=st.none() | st.binary(max_size=20), new=st.binary(max_size=20))
def test_an_exception_leaves_the_old_content(tmp_path, old, new):
    target = tmp_path / "file"
    target.unlink(missing_ok=True)
    if old is not None:
        target.write_bytes(old)

    def die():
        with files.atomic(target) as temporary:
            temporary.write_bytes(new)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die()
    assert (target.read_bytes() if target.exists() else None) == old
    assert leftovers(tmp_path) == []


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "stage"
    for name in ("first", "second"):
        with files.atomic(target, folder=True) as temporary:
            (temporary / name).write_text(name)
    assert sorted(path.name for path in target.iterdir()) == [files.MARKER, "second"]
    assert leftovers(tmp_path) == []


def test_an_exception_leaves_the_old_folder(tmp_path):
    target = tmp_path / "stage"
    with files.atomic(target, folder=True) as temporary:
        (temporary / "old").write_text("old")

    def die():
        with files.atomic(target, folder=True) as temporary:
            (temporary / "half").write_text("half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        die()
    assert sorted(path.name for path in target.iterdir()) == [files.MARKER, "old"]
    assert leftovers(tmp_path) == []


def documents(folder):
    """A folder of somebody's own, with one file."""
    folder.mkdir()
    (folder / "thesis.txt").write_text("three years")
    return folder


def tree(folder):
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


TARGETS = {
    "a folder of somebody's": (documents, True),
    "a folder, for a file": (documents, False),
    "a folder that looks like a model": (lambda path: (documents(path) / "config.json").write_text("{}"), True),
    "a hidden file alone": (lambda path: (path.mkdir(), (path / ".git").write_text("x")), True),
    "a link to a folder": (lambda path: path.symlink_to(documents(path.with_name("own"))), True),
    "a link to a file": (lambda path: path.symlink_to(documents(path.with_name("own")) / "thesis.txt"), False),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), False),
    "a file, for a folder": (lambda path: path.write_text("mine"), True),
    "a FIFO": (os.mkfifo, False),
    "a FIFO, for a folder": (os.mkfifo, True),
}


@pytest.mark.parametrize("case", TARGETS)
def test_what_is_somebody_elses_is_never_replaced(tmp_path, case):
    make, folder = TARGETS[case]
    make(tmp_path / "target")
    before, begun = tree(tmp_path), []
    with pytest.raises(ArtifactError, match="nothing is written there"):
        with files.atomic(tmp_path / "target", folder=folder):
            begun.append("hours of training")
    assert tree(tmp_path) == before
    assert not begun


@pytest.mark.parametrize("name", ["", ".", "..", "inside/..", "inside/."])
@pytest.mark.parametrize("folder", [True, False])
def test_a_place_without_a_name_is_refused(tmp_path, monkeypatch, name, folder):
    documents(tmp_path / "inside")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match="nothing is written there"):
        with files.atomic(name, folder=folder):
            pass
    assert (tmp_path / "inside" / "thesis.txt").exists()


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "stage").mkdir()
    with files.atomic(tmp_path / "stage", folder=True) as temporary:
        (temporary / "model").write_text("new")
    assert (tmp_path / "stage" / "model").exists()


@pytest.mark.parametrize("half", [True, False])
def test_a_folder_that_a_kill_left_aside_comes_back(tmp_path, half):
    target = tmp_path / "stage [1]"
    target.with_name(f".{target.name}.12345678.old").mkdir()
    (target.with_name(f".{target.name}.12345678.old") / "model").write_text("whole")
    if half:
        target.with_name(f".{target.name}.87654321.partial").mkdir()
    files.recover(target)
    assert (target / "model").read_text() == "whole"
    assert leftovers(tmp_path) == []


def test_what_failed_to_replace_a_folder_left_aside_leaves_that(tmp_path):
    aside = tmp_path / ".stage.12345678.old"
    with files.atomic(aside, folder=True) as temporary:
        (temporary / "model").write_text("whole")
    with pytest.raises(ValueError, match="stop"):
        with files.atomic(tmp_path / "stage", folder=True):
            raise ValueError("stop")
    assert (tmp_path / "stage" / "model").read_text() == "whole"


def test_a_half_written_file_is_swept_and_the_whole_one_stays(tmp_path):
    (tmp_path / "walk.csv").write_text("whole")
    (tmp_path / ".walk.csv.12345678.partial").write_text("ha")
    (tmp_path / ".other.csv.12345678.partial").write_text("of another writer")
    files.recover(tmp_path / "walk.csv")
    assert (tmp_path / "walk.csv").read_text() == "whole"
    assert leftovers(tmp_path) == [".other.csv.12345678.partial"]


def test_permissions_are_those_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with files.atomic(tmp_path / "stage", folder=True) as temporary:
            with tempfile.NamedTemporaryFile(dir=temporary, delete=False) as file:  # its owner's alone
                weights = Path(file.name).name
        with files.atomic(tmp_path / "file") as temporary:
            temporary.touch(mode=0o600)
    finally:
        os.umask(before)
    modes = [
        path.stat().st_mode & 0o777 for path in (tmp_path / "stage", tmp_path / "stage" / weights, tmp_path / "file")
    ]
    assert modes == [0o750, 0o640, 0o640]


# --- JSON ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*NO_OBJECTS, b'{"a": "text"}', b'{"a": null}'])
def test_json_of_another_shape_is_refused_in_a_sentence(tmp_path, text):
    path = tmp_path / "stage.json"
    path.write_bytes(text)
    with pytest.raises(ArtifactError, match=r"stage\.json cannot be read"):
        files.read_json(path, dict[str, float])


def test_json_comes_back_as_it_was_written(tmp_path):
    files.write_json({"a": 1.5, "ü": [1, None, "²"]}, tmp_path / "value.json")
    assert files.read_json(tmp_path / "value.json") == {"a": 1.5, "ü": [1, None, "²"]}


# --- fingerprints -------------------------------------------------------------------------------------------------


@few
@given(plain)
def test_equal_values_have_equal_fingerprints(value):
    assert files.fingerprint(value) == files.fingerprint(value)
    assert len(files.fingerprint(value)) == 16


@few
@given(st.dictionaries(st.text(max_size=4), st.integers(), min_size=2, max_size=4))
def test_the_order_of_keys_does_not_matter(value):
    assert files.fingerprint(value) == files.fingerprint(dict(reversed(value.items())))


@few
@given(plain, plain)
def test_a_changed_value_changes_the_fingerprint(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (files.fingerprint(one) == files.fingerprint(other)) == same


def test_the_content_of_a_folder_is_what_its_files_hold_and_not_when_they_were_written(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "weights").write_bytes(b"1234")
        (tmp_path / name / "notes.json").write_text(name)
    one, two = tmp_path / "one", tmp_path / "two"
    assert files.content(one) != files.content(two)
    assert files.content(one, without=("notes.json",)) == files.content(two, without=("notes.json",))
    (two / "inner" / "weights").write_bytes(b"1235")
    assert files.content(one, without=("notes.json",)) != files.content(two, without=("notes.json",))
    (one / "inner" / "weights").rename(one / "inner" / "other")
    assert len({files.content(one), files.content(two)}) == 2


def test_sha256_is_the_published_one_of_known_bytes(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert files.sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# --- where things live --------------------------------------------------------------------------------------------


def test_the_reader_can_choose_where_artifacts_live(tmp_path, monkeypatch):
    monkeypatch.setenv("LLASA_HOME", str(tmp_path))
    assert files.root() == tmp_path.resolve()


def test_a_checkout_keeps_artifacts_beside_the_code_and_an_installed_package_does_not(tmp_path, monkeypatch):
    monkeypatch.delenv("LLASA_HOME", raising=False)
    package = tmp_path / "llasa_lib"
    monkeypatch.setattr(files, "PACKAGE", package)
    assert files.root() == Path.home() / ".cache" / "llasa"
    (tmp_path / "pyproject.toml").write_text("")
    assert files.root() == tmp_path
    assert os.path.isdir(files.root())
