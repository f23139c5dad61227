"""Promises of ``llasa_lib.recordings.hhar``: two sensors become one recording, whatever their clocks do."""

import importlib.util
import itertools
import json
import os
import shutil
import time
import warnings
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import formats_hhar
import numpy as np
import pytest
from damage import NO_OBJECTS
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llasa_lib import files, recordings, signals
from llasa_lib.errors import DataError
from llasa_lib.recordings import hhar

REPOSITORY = Path(__file__).resolve().parents[1]
MODELS = ("s3mini", "samsungold", "gear", "lgwatch")
STREAMS = 28  # two people, two devices of each model, two sensors; one model without a gyroscope
ROWS = 4500  # per stream


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A folder with the four files of two people."""
    return formats_hhar.write(tmp_path_factory.mktemp("raw"), ROWS * STREAMS, "ab", MODELS, spell=3.0)


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("LLASA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def quietly(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(hhar.read(*arguments, **options))


def streams(model="s3mini", rows=ROWS, quirks=False):
    """Accelerometer and gyroscope as the generator makes them."""
    made = (formats_hhar.stream(rows, model, sensor, seed=1, spell=3.0, quirks=quirks) for sensor in hhar.SENSORS)
    codes = np.array([hhar.CODES[label] for label in formats_hhar.LABELS], np.int8)
    return [hhar.Stream(a, c, np.stack([x, y, z], axis=1), codes[labels]) for a, c, x, y, z, labels in made]


def steady(start, rate, count, values=0.0):
    """A stream with even time stamps, from ``start`` s on."""
    creation = formats_hhar.START + ((start + np.arange(count) / rate) * 1e9).round().astype(np.int64)
    return hhar.Stream(creation // 1_000_000 + 2000, creation, np.full((count, 3), values), np.ones(count, np.int8))


def without(stream, drop):
    """The stream without some of its rows."""
    return hhar.Stream(*(np.delete(column, drop, axis=0) for column in stream))


# --- joining -------------------------------------------------------------------------------------


def test_the_gyroscope_is_interpolated_onto_the_accelerometers_clock():
    accelerometer, gyroscope = streams()
    (joined,) = hhar.join(accelerometer, gyroscope)
    both = (accelerometer.creation >= gyroscope.creation[0]) & (accelerometer.creation <= gyroscope.creation[-1])
    assert 0 < (~both).sum() < 5
    time = (accelerometer.creation[both] - formats_hhar.START) / 1e9
    np.testing.assert_allclose(joined["time"], time - time[0], atol=1e-9)
    np.testing.assert_array_equal(joined["acceleration"], accelerometer.values[both])
    np.testing.assert_allclose(joined["rotation"], formats_hhar.truth(time)[1], atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    rates=st.tuples(st.sampled_from([50, 100, 150, 200]), st.sampled_from([50, 100, 200])),
    lead=st.floats(-2, 2),
    holes=st.lists(st.tuples(st.booleans(), st.floats(0, 9), st.floats(0.2, 3)), max_size=4),
)
def test_a_gap_of_either_sensor_splits_and_is_never_bridged(rates, lead, holes):
    made = [steady(0.0, rates[0], 10 * rates[0]), steady(lead, rates[1], 10 * rates[1])]
    for which, start, length in holes:
        time = (made[which].creation - formats_hhar.START) / 1e9
        made[which] = without(made[which], np.flatnonzero((time > start) & (time < start + length)))
    assume(min(len(stream.arrival) for stream in made) >= 100)
    counts = Counter()
    pieces = hhar.join(*made, counts)
    for piece in pieces:
        assert np.diff(piece["time"]).max() <= 0.1 + 1e-6
        assert piece["time"][-1] >= hhar.SHORTEST
    # What is kept, and what is too short to keep, is exactly what both sensors saw.
    turns = made[1].creation
    after = np.searchsorted(turns, made[0].creation)
    inside = (after > 0) & (after < len(turns))
    near = np.zeros(len(after), bool)
    near[inside] = turns[after[inside]] - turns[after[inside] - 1] <= 100_000_000
    edge = np.isin(made[0].creation, turns)  # a sample at the very edge of a gap may go either way
    kept = sum(len(piece["time"]) for piece in pieces) + sum(counts.values())
    assert abs(kept - (near | edge).sum()) <= len(holes) + 2


def test_sensors_that_were_never_on_together_give_nothing():
    assert hhar.join(steady(0, 100, 500), steady(60, 100, 500)) == []
    assert hhar.join(steady(0, 100, 1), steady(0, 100, 500)) == []


def test_samples_in_any_order_give_the_same_recording():
    one, other = streams()
    order = np.random.default_rng(0).permutation(ROWS)
    counts = Counter()
    (straight,), (mixed,) = hhar.join(one, other), hhar.join(hhar.Stream(*(c[order] for c in one)), other, counts)
    for name in ("time", "acceleration", "rotation"):
        np.testing.assert_array_equal(straight[name], mixed[name])
    assert counts["out of order, sorted"] > 1000


def test_no_sample_is_lost_when_a_clock_counts_from_below_zero():
    (expected,), shifted = hhar.join(*streams(quirks=False)), []
    for stream in streams(quirks=False):
        shifted.append(stream._replace(creation=stream.creation - formats_hhar.START - 10_000_000_000))
    order = np.arange(ROWS)
    order[[50, 51]] = 51, 50
    (joined,) = hhar.join(hhar.Stream(*(column[order] for column in shifted[0])), shifted[1])
    np.testing.assert_array_equal(joined["acceleration"], expected["acceleration"])


# --- clocks --------------------------------------------------------------------------------------


def test_a_watch_that_counts_from_its_start_keeps_its_fine_clock():
    accelerometer, gyroscope = streams("gear")
    (joined,) = hhar.join(accelerometer, gyroscope)
    steps = np.diff(joined["time"])
    assert 0.005 < steps.min()
    assert len(np.unique(steps.round(6))) > 100, "finer than the milliseconds of arrival"


@pytest.mark.parametrize("fault", ["jump", "two clocks"])
def test_a_clock_that_is_not_sane_gives_way_to_the_time_of_arrival(fault):
    accelerometer, gyroscope = streams()
    creation = accelerometer.creation.copy()
    creation[ROWS // 3 if fault == "jump" else 0 :] -= 3_600_000_000_000
    (joined,) = hhar.join(accelerometer._replace(creation=creation), gyroscope)
    np.testing.assert_allclose(np.ptp(joined["time"]), np.ptp(accelerometer.creation) / 1e9, atol=0.03)
    since = (accelerometer.arrival - formats_hhar.START // 1_000_000 - 1995) / 1e3
    np.testing.assert_allclose(joined["rotation"], formats_hhar.truth(since)[1][: len(joined["time"])], atol=0.05)


def test_a_few_stray_stamps_are_dropped_and_counted():
    accelerometer, gyroscope = streams()
    creation = accelerometer.creation.copy()
    creation[[500, 1500]] += 86_400_000_000_000
    counts = Counter()
    (joined,) = hhar.join(accelerometer._replace(creation=creation), gyroscope, counts)
    assert counts == {"dropped, whose time is astray": 2}
    assert joined["time"][-1] < 50


# --- files ---------------------------------------------------------------------------------------


def test_every_person_and_device_becomes_recordings_in_si_units(raw):
    found = quietly(raw)
    assert {r.subject for r in found} == {"hhar-a", "hhar-b"}
    assert {(r.placement, r.device) for r in found} == {
        ("waist", "Samsung Galaxy S3 mini"),
        ("wrist", "Samsung Galaxy Gear"),
        ("wrist", "LG G Watch"),
    }
    assert len(found) == 2 * 6 * 2, "people, devices, and the break splits each"
    for recording in found:
        assert recording.source == "hhar"
        assert recording.time[0] == 0
        assert 9 < np.median(np.linalg.norm(recording.acceleration, axis=1)) < 11
        assert np.abs(recording.rotation).max() < 0.5


def test_labels_become_the_vocabulary_and_null_becomes_nothing(raw):
    segments = [s for r in quietly(raw, devices=["s3mini"]) for s in r.segments]
    assert {s.activity for s in segments} == set(hhar.ACTIVITY) - {""}
    whole = [s.end - s.start for s in segments if s.activity == "walking"]
    assert max(whole) == pytest.approx(3.0, abs=0.03)
    for recording in quietly(raw, devices=["s3mini"]):
        for one, other in itertools.pairwise(recording.segments):
            assert one.end <= other.start


def test_what_was_sorted_dropped_or_left_out_is_said_once_in_numbers(raw):
    with pytest.warns(UserWarning, match="HHAR") as caught:
        list(hhar.read(raw, devices=["s3mini", "samsungold_2"]))
    assert len(caught) == 1
    joined = 2 * 2 * 2  # people, devices, sensors
    late, twice = (len(range(first, ROWS - 1, 1000)) for first in (50, 80))
    said = str(caught[0].message)
    assert f"{joined * late} samples out of order, sorted" in said
    assert f"{joined * twice} samples dropped, whose time repeats" in said
    assert "samsungold_2 left out" in said


def test_people_and_devices_can_be_chosen(raw):
    found = quietly(raw, subjects=["hhar-b"], devices=["gear_1", "s3mini"])
    assert [(r.subject, r.device) for r in found] == [("hhar-b", "Samsung Galaxy Gear")] * 2 + [
        ("hhar-b", "Samsung Galaxy S3 mini")
    ] * 4
    with pytest.raises(DataError, match=r"no subject 'z'; it has hhar-a, hhar-b"):
        quietly(raw, subjects=["z"])
    with pytest.raises(DataError, match=r"no device 'nexus5'; it has gear_1, .*s3mini_2"):
        quietly(raw, devices=["nexus5"])


def test_the_plain_way_gives_the_same_recordings(raw):
    path = REPOSITORY / "benchmarks" / "bench_hhar.py"
    spec = importlib.util.spec_from_file_location("bench_hhar", path)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    fast, slow = quietly(raw), list(bench.plain(raw))
    assert len(fast) == len(slow) > 10
    for one, other in zip(fast, slow, strict=True):
        np.testing.assert_array_equal(one.imu, other.imu)
        np.testing.assert_array_equal(one.time, other.time)
        assert one.segments == other.segments


def zip_of(raw, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(raw.iterdir()):
            archive.write(file, f"Activity recognition exp/{file.name}")
    return path


def test_the_zip_is_read_where_it_lies(raw, tmp_path):
    found = quietly(zip_of(raw, tmp_path / "Activity recognition exp.zip"))
    for one, other in zip(found, quietly(raw), strict=True):
        np.testing.assert_array_equal(one.imu, other.imu)
    assert not list(tmp_path.rglob("*.csv"))


def test_a_damaged_zip_is_refused(raw, tmp_path):
    path = zip_of(raw, tmp_path / "exp.zip")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"exp\.zip: Activity recognition exp/.*Delete the file"):
        quietly(path)


def test_load_finds_the_files_that_the_reader_unpacked(raw, home):
    shutil.copytree(raw, home / "data" / "downloads" / "hhar")
    with pytest.warns(UserWarning, match="HHAR"):
        found = recordings.load("hhar", ["a"])
    assert len(found) == 12


def test_the_files_are_gone_through_once_and_again_when_they_change(raw, home, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(raw, folder)
    index = home / "data" / "cache" / "hhar" / "index.json"
    first = quietly(folder)
    made = index.stat().st_mtime_ns
    assert len(quietly(folder)) == len(first)
    assert index.stat().st_mtime_ns == made
    formats_hhar.write(folder, ROWS * 6, "c", ("s3mini", "gear"))
    assert {r.subject for r in quietly(folder)} == {"hhar-c"}


@pytest.fixture(scope="module")
def little(tmp_path_factory):
    """The four files of one person, as few as give a recording."""
    return formats_hhar.write(tmp_path_factory.mktemp("little"), ROWS * 6, "c", ("s3mini", "gear"))


def spoiled_index(change):
    def spoil(cache):
        index = json.loads((cache / "index.json").read_text())
        change(index)
        (cache / "index.json").write_text(json.dumps(index))

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        *(lambda cache, text=text: (cache / "index.json").write_bytes(text) for text in NO_OBJECTS),
        spoiled_index(lambda index: index.pop("streams")),
        spoiled_index(lambda index: index["streams"].popitem()),
        spoiled_index(lambda index: index["streams"]["Watch_gyroscope"].append(["c", "gear_1"])),
        spoiled_index(lambda index: index["streams"].update(Phones_gyroscope=[["c", "s3mini_1", "more"]])),
        spoiled_index(lambda index: index["streams"].update(Phones_gyroscope={"c": 3})),
        lambda cache: (cache / "Phones_gyroscope").write_bytes(b"ARROW1"),
        lambda cache: (cache / "Watch_gyroscope").unlink(),
        lambda cache: os.truncate(cache / "Phones_accelerometer", 5000),
    ],
)
def test_a_damaged_cache_is_not_believed_but_made_anew(little, home, spoil):
    first, cache = quietly(little), home / "data" / "cache" / "hhar"
    whole = (cache / "index.json").read_bytes()
    spoil(cache)
    for one, again in zip(first, quietly(little), strict=True):
        np.testing.assert_array_equal(one.imu, again.imu)
    assert (cache / "index.json").read_bytes() == whole


def test_a_cache_is_made_once_however_many_ask_for_it_and_what_a_kill_left_is_swept(little, home, monkeypatch):
    made, fill = [], hhar._fill

    def slowly(*arguments):
        made.append(arguments)
        time.sleep(0.3)
        return fill(*arguments)

    monkeypatch.setattr(hhar, "_fill", slowly)
    cache = home / "data" / "cache" / "hhar"
    for left in (".hhar.0badcafe.partial", ".hhar.0badcafe.old"):
        (cache.parent / left).mkdir(parents=True)
        (cache.parent / left / "Phones_gyroscope").write_bytes(b"half")
        (cache.parent / left / files.MARKER).touch()
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(hhar.people, [little] * 3))
    assert found == [["c"]] * 3
    assert len(made) == 1
    assert sorted(path.name for path in cache.parent.iterdir()) == [".hhar.lock", "hhar"]


GOOD = "7,1424696633908,1424696631913248572,-5.958191,0.6880646,8.135345,a,s3mini,s3mini_1,stand\n"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1,2,3\n", "Expected 10 columns, got 3"),
        (GOOD.replace("\n", ",more\n"), "Expected 10 columns, got 11"),
        ("\n", ""),
        (GOOD.replace("0.6880646", "abc"), "column y: invalid value 'abc'"),
        (GOOD.replace("0.6880646", ""), "column y: invalid value ''"),
        (GOOD.replace("0.6880646", "nan"), "column y: not a finite number"),
        (GOOD.replace("8.135345", "inf"), "column z: not a finite number"),
        (GOOD.replace("1424696633908", "1.5"), "column Arrival_Time: invalid value '1.5'"),
        (GOOD.replace("1424696631913248572", "99999999999999999999"), "column Creation_Time: invalid value"),
        (GOOD.replace("stand", "st"), "unknown activity 'st'"),
        (GOOD.replace("stand", ""), "unknown activity ''"),
        (GOOD[:40], "Expected 10 columns"),
    ],
)
def test_a_malformed_row_is_named_by_file_line_and_column(raw, tmp_path, home, row, said):
    folder = tmp_path / "bad"
    shutil.copytree(raw, folder)
    file = folder / "Watch_gyroscope.csv"
    file.write_text(formats_hhar.HEADER + GOOD * 40_000 + row)  # not in the first block
    with pytest.raises(DataError) as caught:
        quietly(folder)
    message = str(caught.value)
    assert "Watch_gyroscope.csv, line 40002" in message
    assert said in message
    assert "\n" not in message
    assert not list(home.rglob("*.arrow*")), "nothing half-made is left"
    assert not (home / "data" / "cache" / "hhar").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "Empty CSV"),
        (formats_hhar.HEADER.replace(",gt", ",label"), "gt"),
        ("<html>Not found</html>\n", "Arrival_Time"),
        (b"\xff\xfe\x00\x01" * 50, ""),
    ],
)
def test_a_file_that_is_something_else_is_named(raw, tmp_path, content, said):
    folder = tmp_path / "bad"
    shutil.copytree(raw, folder)
    (folder / "Phones_gyroscope.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=rf"Phones_gyroscope\.csv.*{said}.*Delete the file"):
        quietly(folder)


def test_a_missing_file_is_named(raw, tmp_path):
    folder = tmp_path / "bad"
    shutil.copytree(raw, folder)
    (folder / "Watch_gyroscope.csv").unlink()
    with pytest.raises(DataError, match=r"holds no Watch_gyroscope\.csv"):
        quietly(folder)


def test_files_without_rows_give_no_recordings(tmp_path):
    for kind, sensor in itertools.product(hhar.PLACEMENT, hhar.SENSORS):
        (tmp_path / f"{kind}_{sensor}.csv").write_text(formats_hhar.HEADER)
    with pytest.raises(DataError, match="no samples"):
        quietly(tmp_path)


@pytest.mark.parametrize("empty", ["Watch_gyroscope.csv", "Phones_accelerometer.csv"])
def test_a_file_with_a_header_and_no_rows_is_named(raw, tmp_path, empty):
    folder = tmp_path / "mine"
    shutil.copytree(raw, folder)
    (folder / empty).write_text(formats_hhar.HEADER)
    with pytest.raises(DataError, match=rf"{empty}: there are no samples in it\. Unpack all four files"):
        quietly(folder)


def test_nobody_is_told_to_delete_a_folder_of_their_own(raw, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    shutil.copy(raw / "Phones_gyroscope.csv", folder)
    with pytest.raises(DataError, match=r"holds no Phones_accelerometer\.csv, Watch_.*Unpack all four") as caught:
        quietly(folder)
    assert "Delete" not in str(caught.value)


def test_a_linked_subfolder_holds_what_it_leads_to(raw, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "HHAR").symlink_to(raw)
    (tmp_path / "mine" / "round").symlink_to(tmp_path / "mine")  # and one that leads back ends nothing
    assert len(quietly(tmp_path / "mine")) == len(quietly(raw))


def test_people_and_shards_come_from_the_files(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(recordings.sources, "find", lambda name: raw)
    assert recordings.people("hhar") == ["hhar-a", "hhar-b"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = signals.make_windows(recordings.iterate("hhar"), length=20, labelled=False)
        shards = signals.make_shards(
            {"hhar": recordings.people("hhar")}, tmp_path / "shards", length=20, labelled=False
        )
    assert shards["start"][:] == whole["start"][:]
    assert np.array_equal(signals.to_array(shards), signals.to_array(whole))
