"""Whole data sets, person by person: what comes out of one process, of several, and of a second call."""

import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from llasa_lib import recordings, signals
from llasa_lib.errors import DataError, RecordingError

PEOPLE = {"hapt": ["hapt-01", "hapt-02", "hapt-05"]}  # those of the fixture hapt_windows


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """A folder with the shards of these people, and what came out of the call that made it."""
    folder = tmp_path_factory.mktemp("shards")
    return folder, signals.make_shards(PEOPLE, folder, processes=2)


def same(one, other):
    columns = [name for name in one.column_names if name != "imu"]
    return (
        one[:][columns[0]] == other[:][columns[0]]
        and all(one[name][:] == other[name][:] for name in columns)
        and np.array_equal(signals.to_array(one), signals.to_array(other))
    )


def test_shards_hold_the_windows_of_make_windows(cut, hapt_windows):
    folder, shards = cut
    assert same(shards, hapt_windows)
    assert shards.features == hapt_windows.features
    assert sorted(path.name for path in folder.iterdir()) == [f"{person}.arrow" for person in PEOPLE["hapt"]]


def test_several_sets_follow_each_other(tmp_path):
    people = {"shoulder": recordings.people("shoulder")[:2], "hapt": ["hapt-01"]}
    shards = signals.make_shards(people, tmp_path, labelled=False, stride=240)
    assert shards.unique("subject") == [*people["shoulder"], "hapt-01"]


@pytest.fixture
def copies(monkeypatch):
    """Two sets of which one holds a person of the other again, under another name, and one of them half of it."""
    (walk,) = [one for one in recordings.load("shoulder") if one.subject == recordings.people("shoulder")[0]][:1]
    half = len(walk.time) // 2
    other = replace(walk, acceleration=walk.acceleration[:, [1, 0, 2]])
    sets = {
        "one": [replace(walk, subject="one-01"), replace(other, subject="one-02")],
        "two": [
            replace(walk, subject="two-01"),
            replace(other, time=walk.time[:half], acceleration=other.acceleration[:half], rotation=walk.rotation[:half],
                    subject="two-02"),
        ],
    }  # fmt: skip
    iterate = lambda name, people: (one for one in sets[name] if one.subject in people)
    monkeypatch.setattr(recordings, "iterate", iterate)
    return {name: [one.subject for one in theirs] for name, theirs in sets.items()}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_window_that_two_people_or_sets_hold_is_counted_once(tmp_path, copies, processes, monkeypatch):
    import joblib

    monkeypatch.setattr(joblib, "Parallel", partial(joblib.Parallel, prefer="threads"))
    one = signals.make_shards({"one": copies["one"]}, tmp_path / "one", labelled=False)
    with pytest.warns(UserWarning, match=r"windows of two-01, two-02 hold the same samples .* counted once"):
        both = signals.make_shards(copies, tmp_path / "both", labelled=False, processes=processes)
    hashes = signals.window_hashes(signals.to_array(both))
    assert len(set(hashes)) == len(hashes)
    assert hashes[: len(one)] == signals.window_hashes(signals.to_array(one)), "the first is the one that counts"
    assert "two-01" not in both.unique("subject")


@pytest.mark.filterwarnings("error")
def test_sets_without_copies_are_given_whole(cut, hapt_windows):
    assert same(signals.make_shards(PEOPLE, cut[0]), hapt_windows)


def test_what_was_cut_is_not_cut_again(cut, tmp_path, monkeypatch, hapt_windows):
    """What is missing is cut, here by one process, to the same windows."""
    for kept in ("hapt-01", "hapt-02"):
        shutil.copy(cut[0] / f"{kept}.arrow", tmp_path)
    read = []
    iterate = recordings.iterate
    monkeypatch.setattr(recordings, "iterate", lambda name, people: read.extend(people) or iterate(name, people))
    shards = signals.make_shards(PEOPLE, tmp_path)
    assert read == ["hapt-05"]
    assert same(shards, hapt_windows)


def test_somebody_without_a_window_is_no_error_unless_everybody_is(tmp_path):
    # Two minutes fit into the recordings of the one, and into none of the other.
    people = {"shoulder": recordings.people("shoulder")[:1], "hapt": ["hapt-01"]}
    length = 20 * 60 * 2
    shards = signals.make_shards(people, tmp_path / "both", length=length, labelled=False)
    assert shards.unique("subject") == ["hapt-01"]
    with pytest.raises(RecordingError, match=r"No window of 120 s fits .* recordings of shoulder"):
        signals.make_shards({"shoulder": people["shoulder"]}, tmp_path / "one", length=length, labelled=False)


@pytest.mark.parametrize("processes", [1, 2])
def test_what_a_reader_refuses_is_said_in_its_own_words(processes, tmp_path):
    with pytest.raises(DataError, match="hapt has no subject 'hapt-77'"):
        signals.make_shards({"hapt": ["hapt-01", "hapt-77"]}, tmp_path, processes=processes)


@pytest.mark.parametrize("name", ["hapt", "basicmotions", "shoulder"])
def test_people_are_those_that_the_recordings_name(name):
    assert recordings.people(name) == sorted({recording.subject for recording in recordings.iterate(name)})


def test_people_of_an_unknown_set_are_refused():
    with pytest.raises(DataError, match="no reader for the data set 'nobody'"):
        recordings.people("nobody")
