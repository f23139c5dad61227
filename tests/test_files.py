"""Promises of ``llasa_lib.files``: a file is whole or absent, and a fingerprint changes when its meaning does."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llasa_lib import files

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
        with files.atomic(target) as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert [path.name for path in target.iterdir()] == ["second"]
    assert leftovers(tmp_path) == []


def test_an_exception_leaves_the_old_folder(tmp_path):
    target = tmp_path / "stage"
    target.mkdir()
    (target / "old").write_text("old")

    def die():
        with files.atomic(target) as temporary:
            temporary.mkdir()
            (temporary / "half").write_text("half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        die()
    assert [path.name for path in target.iterdir()] == ["old"]
    assert leftovers(tmp_path) == []


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
