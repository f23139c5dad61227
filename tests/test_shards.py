"""Whole data sets, person by person: what comes out of one process, of several, and of a second call."""

import numpy as np
import pytest

from llasa_lib import recordings, signals
from llasa_lib.errors import DataError, RecordingError

PEOPLE = {"hapt": ["hapt-01", "hapt-02", "hapt-04"]}


def same(one, other):
    columns = [name for name in one.column_names if name != "imu"]
    return (
        one[:][columns[0]] == other[:][columns[0]]
        and all(one[name][:] == other[name][:] for name in columns)
        and np.array_equal(signals.to_array(one), signals.to_array(other))
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_shards_hold_the_windows_of_make_windows(processes, tmp_path):
    whole = signals.make_windows(recordings.load("hapt", PEOPLE["hapt"]))
    shards = signals.make_shards(PEOPLE, tmp_path, processes=processes)
    assert same(shards, whole)
    assert shards.features == whole.features
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{person}.arrow" for person in PEOPLE["hapt"]]


def test_several_sets_follow_each_other(tmp_path):
    people = {"shoulder": recordings.people("shoulder")[:2], **PEOPLE}
    shards = signals.make_shards(people, tmp_path, labelled=False, stride=240)
    assert shards.unique("subject") == [*people["shoulder"], *people["hapt"]]


def test_what_was_cut_is_not_cut_again(tmp_path, monkeypatch):
    signals.make_shards({"hapt": ["hapt-01", "hapt-02"]}, tmp_path)
    read = []
    iterate = recordings.iterate
    monkeypatch.setattr(recordings, "iterate", lambda name, people: read.extend(people) or iterate(name, people))
    shards = signals.make_shards(PEOPLE, tmp_path)
    assert read == ["hapt-04"]
    assert shards.unique("subject") == PEOPLE["hapt"]


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
