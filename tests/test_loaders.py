"""Promises of the readers of published data sets: units, signs, labels, and one sentence for a damaged file."""

import contextlib
import io
import itertools
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata

import damage
import formats
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llasa_lib import recordings, signals
from llasa_lib.errors import DataError, LlasaError, ModelError
from llasa_lib.recordings import archives, basicmotions, motionsense, pamap2, shoaib, shoulder, sources
from llasa_lib.recordings.tables import find_member, read_table, runs

UP = np.array([0.0, 0.6, 0.8])  # where "up" is, seen from the devices of these tests


def installed(package, folder):
    """A folder of an installed package, found without importing it."""
    return metadata.distribution(package).locate_file(folder)


def zipped(folder, path, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
        archive.writestr("__MACOSX/._sub_1.csv", b"\0\5\26\7")
    return path


def change(file, line, edit):
    """Edit one line of a text file, counted from 1 as an editor does."""
    lines = file.read_text().split("\n")
    lines[line - 1] = edit(lines[line - 1])
    file.write_text("\n".join(lines))


def refusal(read, *arguments, **options):
    """The one sentence with which a reader refuses."""
    with pytest.raises(DataError) as caught:
        read(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def points_up(recording):
    np.testing.assert_allclose(recording.acceleration.mean(axis=0), 9.80665 * UP, atol=0.05)


# --- one sign, one unit --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def still_sets(tmp_path_factory):
    """{reader: folder} with one person at rest in each set."""
    imu = formats.still(400, UP)
    motionsense_folder, shoaib_folder, pamap2_folder = (tmp_path_factory.mktemp(name) for name in "msp")
    formats.write_motionsense(motionsense_folder, 3, imu)
    formats.write_shoaib(shoaib_folder, 3, [imu] * 5, ["standing"] * 400)
    formats.write_pamap2(pamap2_folder, 103, 8.38 + np.arange(400) / 100, [3] * 400, [imu] * 3)
    return {motionsense: motionsense_folder, shoaib: shoaib_folder, pamap2: pamap2_folder}


@pytest.fixture(params=[motionsense, shoaib, pamap2], ids=lambda reader: reader.__name__.rpartition(".")[2])
def still_set(request, still_sets, tmp_path):
    """A reader, a copy of its folder that a test may damage, the one person in it, and one of the files."""
    folder = shutil.copytree(still_sets[request.param], tmp_path / "set")
    person = 103 if request.param is pamap2 else 3
    file = sorted(path for path in folder.rglob("*") if path.suffix in {".csv", ".dat"})[0]
    return request.param, folder, person, file


def test_at_rest_every_set_points_away_from_the_ground(still_set):
    reader, folder, person, _ = still_set
    for recording in reader.read(folder, [person]):
        points_up(recording)


def test_values_arrive_as_they_were_felt(still_set):
    reader, folder, person, _ = still_set
    expected = formats.still(400, UP)
    for recording in reader.read(folder, [person]):
        np.testing.assert_allclose(recording.imu, expected, atol=1e-4)


def test_a_zip_and_its_unpacked_folder_give_the_same_recordings(still_set, tmp_path):
    reader, folder, person, _ = still_set
    unpacked = reader.read(folder, [person])
    packed = reader.read(zipped(folder, tmp_path / "set.zip"), [person])
    for one, other in zip(unpacked, packed, strict=True):
        np.testing.assert_array_equal(one.imu, other.imu)
        assert (one.subject, one.placement, one.segments) == (other.subject, other.placement, other.segments)


def test_load_asks_where_the_files_are_and_reads_them(still_set, monkeypatch):
    reader, folder, person, _ = still_set
    name = reader.__name__.rpartition(".")[2]
    monkeypatch.setattr(sources, "find", lambda wanted: {name: folder}[wanted], raising=False)
    found = recordings.load(name, subjects=[person])
    assert {recording.source for recording in found} == {name}
    by_name = recordings.load(name, subjects=[found[0].subject])
    assert [recording.subject for recording in by_name] == [recording.subject for recording in found]


def test_windows_of_every_set_pass_the_check_of_the_encoder(still_set):
    reader, folder, person, _ = still_set
    windows = signals.make_windows(reader.read(folder, [person]), length=60)
    signals.check_windows(signals.to_array(windows), length=60)


# --- what is refused, and where ------------------------------------------------------------------


def test_an_unknown_subject_is_refused_with_those_that_exist(still_set):
    reader, folder, _, _ = still_set
    message = refusal(reader.read, folder, [77])
    assert "no subject 77" in message
    assert reader.read.__module__.rpartition(".")[2] + "-" in message


def test_a_missing_member_is_named_and_never_skipped(still_set):
    reader, folder, person, file = still_set
    file.unlink()
    message = refusal(reader.read, folder, [person])
    assert file.name in message
    assert str(folder) in message


def test_everybody_means_everybody_who_was_published(still_set):
    reader, folder, _, _ = still_set
    assert "holds no" in refusal(reader.read, folder)  # a folder with one person is not the whole set


def test_a_member_that_is_there_twice_is_refused(still_set):
    reader, folder, person, _ = still_set
    shutil.copytree(folder, folder / "copy")
    assert "twice" in refusal(reader.read, folder, [person])


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda line, separator: line + separator + "1", "instead of"),
        (lambda line, separator: line.rpartition(separator)[0], "instead of"),
        (lambda line, separator: line[: len(line) // 2], "instead of"),
    ],
    ids=["a value too many", "a value too few", "a cut line"],
)
def test_a_wrong_number_of_columns_is_refused_with_its_line(still_set, edit, words):
    reader, folder, person, file = still_set
    change(file, 42, lambda line: edit(line, " " if reader is pamap2 else ","))
    message = refusal(reader.read, folder, [person])
    assert "line 42 " in message
    assert words in message
    assert file.name in message


@pytest.mark.parametrize("text", ["abc", "1.2.3", "inf"])
def test_a_text_instead_of_a_number_is_refused_with_its_line_and_column(still_set, text):
    reader, folder, person, file = still_set
    index = {motionsense: 4, shoaib: 1, pamap2: 4}[reader]  # acceleration x of the first placement
    separator = " " if reader is pamap2 else ","

    def edit(line):
        fields = line.split(separator)
        fields[index] = text
        return separator.join(fields)

    change(file, 42, edit)
    message = refusal(reader.read, folder, [person])
    assert "line 42, column" in message
    assert {motionsense: "gravity.x", shoaib: "left pocket Ax", pamap2: "hand acc16 x"}[reader] in message
    assert file.name in message


@pytest.mark.parametrize("kept", [0, 5, 5000])
def test_a_truncated_table_is_refused(still_set, kept):
    reader, folder, person, file = still_set
    file.write_bytes(file.read_bytes()[:kept])
    assert file.name in refusal(reader.read, folder, [person])


def test_empty_lines_at_the_end_do_no_harm(still_set):
    reader, folder, person, file = still_set
    before = reader.read(folder, [person])[0]
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")
    np.testing.assert_array_equal(reader.read(folder, [person])[0].imu, before.imu)


def test_a_zip_with_a_flipped_byte_is_refused(still_set, tmp_path):
    reader, folder, person, _ = still_set
    path = zipped(folder, tmp_path / "set.zip", zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    at = content.index(b"9", 2000)  # a digit in the middle of the first table: only its checksum can tell
    content[at : at + 1] = b"8"
    path.write_bytes(bytes(content))
    assert "set.zip" in refusal(reader.read, path, [person])


COMPRESSIONS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_no_damage_to_a_zip_ends_in_anything_but_one_sentence(tmp_path, compression):
    table = "time,acc_x\n" + "".join(f"{n / 50},{n % 7 / 10}\n" for n in range(200))
    (tmp_path / "set").mkdir()
    for name in ("Accelerometer.csv", "Gyroscope.csv"):
        (tmp_path / "set" / name).write_text(table)
    content, messages = zipped(tmp_path / "set", tmp_path / "set.zip", compression).read_bytes(), []
    damaged = tmp_path / "damaged.zip"
    for mutation in damage.mutations(content, 150, seed=compression):
        damaged.write_bytes(mutation)
        try:
            with archives.Archive(damaged) as archive:
                for name in archive.names:
                    with archive.open(name) as file:
                        file.read()
        except DataError as error:
            messages.append(str(error))
        with contextlib.suppress(LlasaError):  # the way of a reader's own recording, and of a table
            recordings.read(damaged)
        with contextlib.suppress(LlasaError), archives.Archive(damaged) as archive:
            read_table(archive, "Gyroscope.csv", ["time", "acc_x"], header=1)
    assert len(messages) > 50
    assert not any("\n" in message for message in messages)
    assert max(map(len, messages)) < len(str(damaged)) + 350


@pytest.mark.parametrize("flaw", ["encrypted", "unknown method", "newer version"])
def test_a_zip_that_python_cannot_unpack_is_refused_in_a_sentence(tmp_path, flaw):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.csv").write_text("1,2\n" * 99)
    path = zipped(tmp_path / "set", tmp_path / "set.zip")
    content = bytearray(path.read_bytes())
    place, value = {"encrypted": (6, 1), "unknown method": (8, 99), "newer version": (4, 200)}[flaw]
    for start, shift in ((b"PK\3\4", 0), (b"PK\1\2", 2)):
        content[content.index(start) + place + shift] = value
    path.write_bytes(content)
    with (
        pytest.raises(DataError, match=r"set\.zip: .* cannot be read, it is damaged"),
        archives.Archive(path) as archive,
    ):
        archive.open("a.csv").read()


def test_what_unpacks_to_more_than_is_ever_read_is_refused_while_it_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in "abc":
            bomb.writestr(f"{name}.csv", b"0" * 400_000)
    (tmp_path / "folder").mkdir()
    with open(tmp_path / "folder" / "sparse.csv", "wb") as sparse:
        sparse.truncate(archives.LARGEST_RECORDING + 1)
    with archives.Archive(tmp_path / "bomb.zip", limit=1_000_000) as archive:
        for name in "ab":
            assert len(archive.open(f"{name}.csv").read()) == 400_000
        assert "unpacks to more" in refusal(archive.open("c.csv").read)
    with archives.Archive(tmp_path / "folder", limit=1_000_000) as archive:
        assert "unpacks to more" in refusal(archive.open("sparse.csv").read)
    assert "more than 256 MiB" in refusal(archives.read_file, tmp_path / "folder" / "sparse.csv")
    assert "more than 0 MiB" in refusal(archives.read_file, tmp_path / "bomb.zip", limit=1)


@pytest.mark.parametrize("kind", ["nothing", "folder", "pipe", "forbidden"])
def test_what_is_no_readable_file_is_refused_at_once(tmp_path, monkeypatch, kind):
    path = tmp_path / "walk.csv"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "forbidden":
        path.write_bytes(b"1")

        def refuse(*arguments):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", refuse)
    assert "walk.csv" in refusal(archives.read_file, path)


def test_a_folder_gives_its_files_also_behind_a_link_and_no_pipes(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.csv").write_text("1")
    (tmp_path / "mine" / "below").mkdir(parents=True)
    (tmp_path / "mine" / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "mine" / "below" / "up").symlink_to(tmp_path / "mine")
    (tmp_path / "mine" / "gone.csv").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "mine" / "below" / "pipe.csv")
    with archives.Archive(tmp_path / "mine") as archive:
        assert archive.names == ["linked/a.csv"]


def test_names_inside_an_archive_are_quoted_short_and_harmless(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("\x1b[31m\n" + "x" * 5000 + ".csv", "1")
    with archives.Archive(tmp_path / "set.zip") as archive:
        message = refusal(find_member, archive, "a.csv")
    assert "\x1b" not in message
    assert len(message) < len(str(tmp_path)) + 300


def test_a_header_without_an_end_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"x" * 1_000_000)
    with archives.Archive(tmp_path) as archive:
        assert len(refusal(read_table, archive, "a.csv", ["time"], header=1)) < len(str(tmp_path)) + 500


def test_recordings_with_the_same_samples_are_said_and_counted_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "find", lambda name: tmp_path)
    for seed, trial in enumerate(formats.MOTIONSENSE_TRIALS):
        formats.write_motionsense(tmp_path, 1, formats.still(100, UP, seed=seed), [trial])
    assert len(recordings.load("motionsense", [1])) == 15
    shutil.copy(*(tmp_path / "A_DeviceMotion_data" / trial / "sub_1.csv" for trial in ("sit_13", "sit_5")))
    with pytest.warns(
        UserWarning, match=r"motionsense: .* counted once: number 8 like 7 \(motionsense-01, sitting\)"
    ) as said:
        assert len(recordings.load("motionsense", [1])) == 14
    assert len(said) == 1


def test_placements_with_the_same_samples_are_said_and_counted_once(still_sets, monkeypatch):
    monkeypatch.setattr(sources, "find", lambda name: still_sets[{"shoaib": shoaib, "pamap2": pamap2}[name]])
    for name, person, more in (("shoaib", 3, 4), ("pamap2", 103, 2)):
        with pytest.warns(UserWarning, match=rf"{name}: .*{more + 1} like 1 \({name}-"):
            assert len(recordings.load(name, [person])) == 1


@pytest.mark.parametrize("reader", [motionsense, shoaib, pamap2])
def test_a_web_page_instead_of_an_archive_is_refused(reader, tmp_path):
    (tmp_path / "set.zip").write_text("<html>Not found</html>")
    assert "neither a zip nor a rar" in refusal(reader.read, tmp_path / "set.zip")


# --- MotionSense ---------------------------------------------------------------------------------


def test_an_iphone_that_falls_feels_nothing_and_one_that_is_pushed_up_feels_more(tmp_path):
    # Core Motion, face up: gravity is -1 g; in free fall user acceleration is +1 g; pushed up with 1 g it is -1 g.
    file = formats.write_motionsense(tmp_path, 1, formats.still(3)) / "A_DeviceMotion_data/wlk_7/sub_1.csv"
    rows = [f"{i},0,0,0,0.0,0.0,-1.0,0,0,0,0.0,0.0,{user}" for i, user in enumerate((0.0, 1.0, -1.0))]
    file.write_text("\n".join([formats.MOTIONSENSE_HEADER, *rows]) + "\n")
    found = {r.segments[0].activity: r for r in reversed(motionsense.read(tmp_path, [1]))}
    np.testing.assert_allclose(found["walking"].acceleration[:, 2], [9.80665, 0, 2 * 9.80665], atol=1e-12)


def test_every_trial_of_motionsense_is_one_recording_with_its_folders_label(still_sets):
    found = motionsense.read(still_sets[motionsense], [3])
    assert len(found) == 15
    activities = [recording.segments[0].activity for recording in found]
    assert {activity: activities.count(activity) for activity in activities} == {
        "descending stairs": 3,
        "climbing stairs": 3,
        "walking": 3,
        "sitting": 2,
        "standing": 2,
        "jogging": 2,
    }
    for recording in found:
        assert recording.segments[0][:2] == (0.0, 8.0)
        assert recording.rate == pytest.approx(50)
        assert (recording.subject, recording.placement) == ("motionsense-03", "trouser pocket")


def test_the_other_sensors_of_the_repository_are_left_alone(tmp_path):
    formats.write_motionsense(tmp_path, 1, formats.still(10))
    other = tmp_path / "B_Accelerometer_data" / "dws_1" / "sub_1.csv"
    other.parent.mkdir(parents=True)
    other.write_text(",x,y,z\n0,0.1,0.9,0.2\n")
    assert len(motionsense.read(tmp_path, [1])) == 15


def test_motionsense_columns_are_found_by_name(tmp_path):
    formats.write_motionsense(tmp_path, 1, formats.still(10))
    file = tmp_path / "A_DeviceMotion_data/dws_1/sub_1.csv"
    change(file, 1, lambda line: line.replace("gravity.y", "gravity.Y"))
    message = refusal(motionsense.read, tmp_path, [1])
    assert "no column 'gravity.y'" in message
    assert "gravity.Y" in message


def test_a_missing_value_of_motionsense_is_refused_with_its_line(tmp_path):
    formats.write_motionsense(tmp_path, 1, formats.still(10))
    file = tmp_path / "A_DeviceMotion_data/dws_1/sub_1.csv"
    change(file, 5, lambda line: line.rpartition(",")[0] + ",")
    assert "line 5, column 'userAcceleration.z': the value is missing" in refusal(motionsense.read, tmp_path, [1])


# --- Shoaib --------------------------------------------------------------------------------------


def test_five_phones_of_one_person_share_a_clock_and_keep_their_own_signals(tmp_path):
    imus = [formats.still(60, np.roll([1, 0, 0], k), seed=k) for k in range(5)]
    found = shoaib.read(formats.write_shoaib(tmp_path, 10, imus, ["biking"] * 60), [10])
    assert [recording.placement for recording in found] == ["left pocket", "right pocket", "wrist", "upper arm", "belt"]
    for recording, imu in zip(found, imus, strict=True):
        np.testing.assert_allclose(recording.imu, imu, atol=1e-6)
        np.testing.assert_array_equal(recording.time, found[0].time)
        assert recording.subject == "shoaib-10"


def test_activities_recorded_apart_are_never_bridged(tmp_path):
    labels = [*["walking"] * 50, *["Standing "] * 30, *["upsatirs"] * 20, *["downstairs"] * 20]
    recording = shoaib.read(formats.write_shoaib(tmp_path, 8, [formats.still(120)] * 5, labels), [8])[0]
    assert [segment.activity for segment in recording.segments] == [
        "walking",
        "standing",
        "climbing stairs",
        "descending stairs",
    ]
    assert recordings.find_gaps(recording.time).tolist() == [49, 79, 99]
    for segment, samples in zip(recording.segments, (50, 30, 20, 20), strict=True):
        assert ((recording.time >= segment.start) & (recording.time < segment.end)).sum() == samples


def test_a_table_of_several_blocks_is_read_whole_and_names_the_right_line(tmp_path):
    labels = ["sitting"] * 2000 + ["walking"] * 2000  # 2.5 MB; the parser reads 1 MB at a time
    imus = [formats.still(4000, seed=k) for k in range(5)]
    formats.write_shoaib(tmp_path, 1, imus, labels)
    belt = shoaib.read(tmp_path, [1])[4]
    np.testing.assert_allclose(belt.imu, imus[4], atol=1e-6)
    assert [segment.activity for segment in belt.segments] == ["sitting", "walking"]
    change(tmp_path / "DataSet/Participant_1.csv", 3900, lambda line: line.replace(",-24.6", ",-24.6,", 1))
    assert "line 3900 has 71 values instead of 70" in refusal(shoaib.read, tmp_path, [1])


def test_an_unknown_label_of_shoaib_is_refused_with_its_line(tmp_path):
    formats.write_shoaib(tmp_path, 1, [formats.still(20)] * 5, ["walking"] * 12 + ["flying"] * 8)
    assert "line 15: the label 'flying' is not known" in refusal(shoaib.read, tmp_path, [1])


def test_a_missing_value_of_one_phone_leaves_the_others_whole(tmp_path):
    imus = [formats.still(60, seed=k) for k in range(5)]
    imus[2][10:25] = np.nan
    found = shoaib.read(formats.write_shoaib(tmp_path, 1, imus, ["walking"] * 60), [1])
    assert [len(recording.time) for recording in found] == [60, 60, 45, 60, 60]
    assert recordings.find_gaps(found[2].time).tolist() == [9]


# --- PAMAP2 --------------------------------------------------------------------------------------


def test_lost_samples_of_pamap2_leave_a_gap_and_are_never_filled(tmp_path):
    imus = [formats.still(300, seed=k) for k in range(3)]
    imus[0][100:130] = np.nan  # the hand's unit is out of reach for 0.3 s ...
    imus[2][50] = np.nan  # ... and the ankle's for one sample
    formats.write_pamap2(tmp_path, 104, 8.38 + np.arange(300) / 100, [4] * 300, imus)
    hand, chest, ankle = pamap2.read(tmp_path, [104])
    assert [recording.placement for recording in (hand, chest, ankle)] == ["wrist", "chest", "ankle"]
    assert [len(recording.time) for recording in (hand, chest, ankle)] == [270, 300, 299]
    assert recordings.find_gaps(hand.time).tolist() == [99]
    assert np.diff(hand.time)[99] == pytest.approx(0.31)
    assert len(signals.resample(hand)) == 2
    np.testing.assert_allclose(hand.imu, imus[0][np.isfinite(imus[0][:, 0])], rtol=1e-4, atol=1e-6)


def test_a_blank_at_the_end_of_every_row_does_no_harm(tmp_path):
    formats.write_pamap2(tmp_path, 101, np.arange(9) / 100, [4] * 9, [formats.still(9)] * 3)
    file = tmp_path / "PAMAP2_Dataset/Protocol/subject101.dat"
    before = pamap2.read(tmp_path, [101])[2]
    file.write_text(file.read_text().replace("\n", " \n"))
    np.testing.assert_array_equal(pamap2.read(tmp_path, [101])[2].imu, before.imu)


def test_the_accelerometer_that_does_not_saturate_is_read(tmp_path):
    imu = formats.still(20)
    imu[10, 2] = 120.0  # m/s^2: beyond 6 g
    formats.write_pamap2(tmp_path, 101, np.arange(20) / 100, [24] * 20, [imu] * 3)
    assert pamap2.read(tmp_path, [101])[0].acceleration.max() == pytest.approx(120)


def test_pamap2_segments_follow_the_ids_and_leave_transient_rows_out(tmp_path):
    activities = [0] * 10 + [12] * 20 + [0] * 5 + [7] * 15 + [5] * 10
    formats.write_pamap2(tmp_path, 109, 8.38 + np.arange(60) / 100, activities, [formats.still(60)] * 3)
    recording = pamap2.read(tmp_path, ["pamap2-109"])[1]
    names = [segment.activity for segment in recording.segments]
    assert names == ["climbing stairs", "nordic walking", "jogging"]
    inside = [((recording.time >= s.start) & (recording.time < s.end)).sum() for s in recording.segments]
    assert inside == [20, 15, 10]


def test_pamap2_uses_the_vocabulary_where_it_has_a_word():
    own = {name for name in pamap2.LABELS.values() if name not in recordings.ACTIVITIES}
    assert set(pamap2.LABELS.values()) - own == set(recordings.ACTIVITIES)
    assert "rope jumping" in own
    assert len(pamap2.LABELS) == 18  # all that the readme lists


def test_an_unknown_activity_of_pamap2_is_refused_with_its_line(tmp_path):
    formats.write_pamap2(tmp_path, 101, np.arange(9) / 100, [0] * 5 + [99] * 4, [formats.still(9)] * 3)
    assert "line 6: the activity 99 is not known" in refusal(pamap2.read, tmp_path, [101])


@pytest.mark.parametrize("stamp", ["0.02", "NaN"])
def test_time_of_pamap2_that_does_not_increase_is_refused_with_its_line(tmp_path, stamp):
    formats.write_pamap2(tmp_path, 101, np.arange(9) / 100, [4] * 9, [formats.still(9)] * 3)
    file = tmp_path / "PAMAP2_Dataset/Protocol/subject101.dat"
    change(file, 4, lambda line: f"{stamp} " + line.partition(" ")[2])
    assert "line 4, column 'time'" in refusal(pamap2.read, tmp_path, [101])


def test_a_unit_without_a_single_sample_is_refused(tmp_path):
    lost = np.full((9, 6), np.nan)
    formats.write_pamap2(tmp_path, 101, np.arange(9) / 100, [4] * 9, [formats.still(9), lost, formats.still(9)])
    assert "the unit at the chest has no complete sample" in refusal(pamap2.read, tmp_path, [101])


def test_the_optional_recordings_of_pamap2_are_left_alone(tmp_path):
    formats.write_pamap2(tmp_path, 101, np.arange(9) / 100, [4] * 9, [formats.still(9)] * 3)
    protocol = tmp_path / "PAMAP2_Dataset/Protocol"
    shutil.copytree(protocol, protocol.with_name("Optional"))
    assert len(pamap2.read(tmp_path, [101])) == 3


# --- BasicMotions --------------------------------------------------------------------------------


@pytest.fixture
def basicmotions_folder():
    return installed("aeon", "aeon/datasets/data/BasicMotions")


def read_basicmotions(folder, subjects=None):
    with pytest.warns(UserWarning, match="without gravity"):
        return basicmotions.read(folder, subjects)


def test_the_real_basicmotions_are_complete(basicmotions_folder):
    found = read_basicmotions(basicmotions_folder)
    activities = [recording.segments[0].activity for recording in found]
    assert {name: activities.count(name) for name in set(activities)} == dict.fromkeys(
        ("standing", "walking", "jogging", "badminton"), 20
    )
    assert {recording.imu.shape for recording in found} == {(100, 6)}
    assert [recording.rate for recording in found] == pytest.approx([10] * 80)
    assert {recording.subject for recording in found} == {"basicmotions-unknown"}
    # The first two numbers of the first line, and of its second series.
    assert found[0].acceleration[:2, 0].tolist() == [0.079106, 0.079106]
    assert found[0].segments[0].activity == "standing"


def test_what_is_said_about_the_units_of_basicmotions_is_what_the_numbers_say(basicmotions_folder):
    found = read_basicmotions(basicmotions_folder)
    assert max(np.abs(recording.rotation).max() for recording in found) == pytest.approx(np.radians(2000), rel=0.002)
    standing, running = (
        [recording.acceleration for recording in found if recording.segments[0].activity == name]
        for name in ("standing", "jogging")
    )
    assert np.mean([np.linalg.norm(one, axis=1).mean() for one in standing]) == pytest.approx(0.8, abs=0.05)
    assert np.mean([np.linalg.norm(one, axis=1).mean() for one in running]) == pytest.approx(16, abs=0.5)
    assert np.mean([np.linalg.norm(one.mean(axis=0)) for one in standing]) == pytest.approx(0.2, abs=0.02)


def test_acceleration_without_gravity_is_announced_once_and_in_every_recording(basicmotions_folder):
    with pytest.warns(UserWarning, match=basicmotions.WITHOUT_GRAVITY) as caught:
        found = basicmotions.read(basicmotions_folder)
    assert len(caught) == 1
    assert all("without gravity" in recording.device for recording in found)


@pytest.mark.parametrize(("activity", "refused"), [("standing", 20), ("jogging", 0)])
def test_the_encoder_sees_missing_gravity_in_standing_but_not_in_running(basicmotions_folder, activity, refused):
    windows = signals.make_windows(read_basicmotions(basicmotions_folder))
    chosen = signals.to_array(windows.filter(lambda row: row["activity"] == activity))
    count = 0
    for window in chosen:
        try:
            signals.check_windows(window[None])
        except ModelError:
            count += 1
    assert (len(chosen), count) == (20, refused)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda line: line.replace(":Standing", ":Flying"), "label 'Flying' is not known"),
        (lambda line: line.replace("0.079106", "abc", 1), "'abc'"),
        (lambda line: line.partition(":")[2], "instead of 6 series"),
        (lambda line: line.partition(",")[2], "6 series of 100"),
        (lambda line: line[:500], "label"),
        (lambda line: line.replace("0.079106", "nan", 1), "finite"),
    ],
    ids=["label", "text", "a series missing", "a value missing", "cut", "nan"],
)
def test_a_damaged_line_of_basicmotions_is_refused_with_its_number(basicmotions_folder, tmp_path, edit, words):
    folder = shutil.copytree(basicmotions_folder, tmp_path / "set")
    change(folder / "BasicMotions_TRAIN.ts", 14, edit)
    message = refusal(basicmotions.read, folder)
    assert words in message
    assert "BasicMotions_TRAIN.ts, line 14" in message


@pytest.mark.parametrize("content", [None, "", "@data\n"])
def test_missing_and_empty_files_of_basicmotions_are_refused(basicmotions_folder, tmp_path, content):
    folder = shutil.copytree(basicmotions_folder, tmp_path / "set")
    (folder / "BasicMotions_TEST.ts").unlink()
    if content is not None:
        (folder / "BasicMotions_TEST.ts").write_text(content)
    assert "BasicMotions_TEST.ts" in refusal(basicmotions.read, folder)


def test_nobody_can_be_picked_from_basicmotions(basicmotions_folder):
    assert len(read_basicmotions(basicmotions_folder, ["unknown"])) == 80
    assert "basicmotions-unknown" in refusal(basicmotions.read, basicmotions_folder, [1])


# --- shoulder exercises --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exercises():
    return shoulder.read(installed("seglearn", "seglearn/data"))


def test_the_real_shoulder_exercises_are_complete(exercises):
    assert len(exercises) == 140
    assert {recording.subject for recording in exercises} == {f"shoulder-{number:02d}" for number in range(1, 11)}
    names = [recording.segments[0].activity for recording in exercises]
    assert {name: names.count(name) for name in set(names)} == dict.fromkeys(shoulder.EXERCISES.values(), 20)
    assert sum(len(recording.time) for recording in exercises) == 244_102
    for recording in exercises:
        assert recording.rate == pytest.approx(50)
        assert len(recording.segments) == 1
        assert recording.segments[0].end == pytest.approx(recording.duration + 0.02)


def test_shoulder_exercises_come_in_si_units(exercises):
    gravity = [np.linalg.norm(signals.split_gravity(r.acceleration, 50)[0], axis=1).mean() for r in exercises]
    assert np.median(gravity) == pytest.approx(9.8, abs=0.5)
    assert max(np.abs(recording.rotation).max() for recording in exercises) < np.radians(2000)


@pytest.mark.parametrize(("side", "sign"), [("left", -1), ("right", 1)])
def test_a_hanging_arm_feels_its_support_above_the_watch(exercises, side, sign):
    # In the pendulum exercise the arm hangs. A watch's x axis runs to the right of its face: on the left wrist to the
    # hand, which is down, so that the support is felt along -x; on the right wrist it runs to the elbow.
    hanging = [r for r in exercises if r.segments[0].activity == "pendulum" and f"{side} arm" in r.device]
    assert len(hanging) == 10
    for recording in hanging:
        assert sign * recording.acceleration[:, 0].mean() > 7


def test_exercises_of_one_person_can_be_picked(exercises):
    picked = shoulder.read(installed("seglearn", "seglearn/data"), [2, "shoulder-10"])
    assert [recording.subject for recording in picked] == ["shoulder-02"] * 14 + ["shoulder-10"] * 14
    wanted = [recording for recording in exercises if recording.subject in {"shoulder-02", "shoulder-10"}]
    assert all(np.array_equal(one.imu, other.imu) for one, other in zip(picked, wanted, strict=True))
    assert "shoulder-01" in refusal(shoulder.read, installed("seglearn", "seglearn/data"), [11])


def write_watch(folder, content):
    """An npy file of one object, pickled as old as the real one."""
    array = np.empty((), dtype=object)
    array[()] = content
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": ()})
    (folder / "watch_dataset.npy").write_bytes(buffer.getvalue() + pickle.dumps(array, protocol=2))
    return folder


def watch_content(**changes):
    content = {
        "X": [np.ones((20, 6))] * 2,
        "y": np.array([0, 1]),
        "subject": np.array([1, 2]),
        "side": np.array([0.0, 1.0]),
        "X_labels": ["ax", "ay", "az", "wx", "wy", "wz"],
        "y_labels": ["PEN", "ABD"],
    }
    return {key: value for key, value in {**content, **changes}.items() if value is not None}


def as_old_numpy_wrote_it(folder):
    """numpy 2 names its module numpy._core in a pickle; the real file is older."""
    file = folder / "watch_dataset.npy"
    file.write_bytes(file.read_bytes().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    return folder


def test_a_watch_file_of_the_same_layout_is_read(tmp_path):
    one, other = shoulder.read(as_old_numpy_wrote_it(write_watch(tmp_path, watch_content())))
    np.testing.assert_allclose(one.acceleration, -9.80665)
    np.testing.assert_allclose(one.rotation, 1.0)
    assert (one.device, other.device) == ("Apple Watch, left arm", "Apple Watch, right arm")
    assert other.segments == ((0.0, 0.4, "abduction"),)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_labels": ["PEN", "FLY"]}, "the exercise 'FLY' is not known"),
        ({"X_labels": ["wx", "wy", "wz", "ax", "ay", "az"]}, "channels"),
        ({"X": [np.ones((20, 6))]}, "is not the set"),
        ({"X": [np.ones((20, 4))] * 2}, "is not the set"),
        ({"y": np.array([0, 7])}, "is not the set"),
        ({"side": None}, "is not the set"),
        ({"X": [np.full((20, 6), np.nan)] * 2}, "not a finite number"),
    ],
)
def test_a_watch_file_of_another_layout_is_refused(tmp_path, changes, words):
    message = refusal(shoulder.read, as_old_numpy_wrote_it(write_watch(tmp_path, watch_content(**changes))))
    assert words in message
    assert "watch_dataset.npy" in message


def test_a_watch_file_that_names_a_function_is_refused_and_not_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    assert "not allowed" in refusal(shoulder.read, as_old_numpy_wrote_it(write_watch(tmp_path, Attack())))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY\x01\x00", b"<html>", "half", "numbers"])
def test_what_is_no_watch_file_is_refused(tmp_path, content):
    real = installed("seglearn", "seglearn/data/watch_dataset.npy")
    file = tmp_path / "watch_dataset.npy"
    if content == "half":
        file.write_bytes(real.read_bytes()[:100_000])
    elif content == "numbers":
        np.save(file, np.ones(3))
    elif content is not None:
        file.write_bytes(content)
    assert "watch_dataset.npy" in refusal(shoulder.read, tmp_path)


def test_the_packages_that_carry_data_are_never_imported():
    code = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from importlib import metadata\n"
        "from llasa_lib.recordings import basicmotions, shoulder\n"
        "basicmotions.read(metadata.distribution('aeon').locate_file('aeon/datasets/data/BasicMotions'))\n"
        "shoulder.read(metadata.distribution('seglearn').locate_file('seglearn/data'))\n"
        "sys.exit(any(name.split('.')[0] in {'aeon', 'seglearn'} for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- all of them ---------------------------------------------------------------------------------


def test_every_reader_of_the_library_is_in_the_manifest():
    assert set(recordings.READERS) <= set(sources.manifest())
    assert {"motionsense", "shoaib", "pamap2", "basicmotions", "shoulder"} <= set(recordings.READERS)


@given(st.lists(st.integers(0, 2), max_size=30))
def test_runs_are_the_stretches_of_equal_values(values):
    found = runs(values)
    assert [value for value, first, stop in found for _ in range(first, stop)] == values
    assert all(one[2] == other[1] and one[0] != other[0] for one, other in itertools.pairwise(found))


@given(st.binary(max_size=300), st.integers(0, 10_000))
def test_no_damage_to_a_table_ends_in_anything_but_one_sentence(still_sets, tmp_path_factory, noise, at):
    folder = tmp_path_factory.mktemp("noise")
    original = (still_sets[pamap2] / "PAMAP2_Dataset/Protocol/subject103.dat").read_bytes()[:10_000]
    file = folder / "Protocol" / "subject103.dat"
    file.parent.mkdir()
    file.write_bytes(original[:at] + noise + original[at:])
    with contextlib.suppress(LlasaError):
        pamap2.read(folder, [103])
