"""Promises about a reader's own recording: whatever the app wrote, what comes out is right, or refused in one line."""

import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llasa_lib import recordings, signals
from llasa_lib.errors import LlasaError, RecordingError
from llasa_lib.recordings import STANDARD_GRAVITY, Recording

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLES = REPOSITORY / "data" / "samples"
WALK = SAMPLES / "walk.csv"
HEADER = ["time", "acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"]
PHYPHOX = {
    "Accelerometer": [f"Acceleration {a} (m/s^2)" for a in "xyz"],
    "Linear Acceleration": [f"Linear Acceleration {a} (m/s^2)" for a in "xyz"],
    "Gyroscope": [f"Gyroscope {a} (rad/s)" for a in "xyz"],
}
EPOCH = 1_718_030_736_872_695_300  # ns; a real start of a Sensor Logger recording


def walk():
    """(T, 7) table of the sample walk."""
    return np.loadtxt(WALK, delimiter=",", skiprows=1)


def still(seconds=8.0, rate=50.0):
    """(T, 7) table of a phone lying on a table, with a little noise."""
    rng = np.random.default_rng(0)
    time = np.arange(int(seconds * rate)) / rate
    table = np.column_stack([time, rng.normal(0, 0.05, (len(time), 6))])
    table[:, 3] += 9.81
    return table


def text(table, header=HEADER, separator=",", form="%.9g", quote="", decimal="."):
    """A table as the text of a CSV file."""
    rows = [separator.join((form % value).replace(".", decimal) for value in row) for row in table]
    return "\n".join([separator.join(f"{quote}{name}{quote}" for name in header), *rows, ""])


def write(path, table, header=HEADER, separator=","):
    path.write_text(text(table, header, separator), encoding="utf-8")
    return path


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def quietly(path, **stated):
    """The findings about a file, whose recording must be sound."""
    found = recordings.inspect(path, **stated)
    assert found.recording.time[0] == 0
    assert 9 < np.median(np.linalg.norm(found.recording.acceleration, axis=1)) < 11
    return found


def refusal(path, **stated):
    """The one sentence with which ``read`` refuses a file."""
    with pytest.raises(LlasaError) as caught:
        recordings.read(path, **stated)
    message = str(caught.value)
    assert str(path) in message, "the message must name the file"
    assert "\n" not in message
    assert message.endswith((".", ")."))
    return message


# --- plain CSV -----------------------------------------------------------------------------------


def test_the_sample_walk_is_read(recwarn):
    sample = recordings.read(WALK)
    assert sample.duration == pytest.approx(30, abs=0.1)
    assert sample.rate == pytest.approx(50, rel=0.02)
    assert (sample.subject, sample.source) == ("walk", "walk.csv")
    assert not recwarn.list


def test_the_sample_walk_is_generated():
    sys.path.insert(0, str(WALK.parent))
    try:
        import make_walk
    finally:
        sys.path.pop(0)
    np.testing.assert_allclose(walk(), make_walk.walk(), atol=1e-4)


@pytest.mark.parametrize("name", ["phyphox", "sensor_logger", "physics_toolbox.csv"])
def test_the_sample_exports_are_the_first_seconds_of_the_walk(name):
    recording = recordings.inspect(SAMPLES / name).recording
    rows = len(recording.time)
    assert recording.duration == pytest.approx(8, abs=0.1)
    np.testing.assert_allclose(recording.time, walk()[:rows, 0], atol=1e-6)
    np.testing.assert_allclose(recording.imu, walk()[:rows, 1:], atol=1e-8)


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        ["t", "ax", "ay", "az", "gx", "gy", "gz"],
        ["Timestamp", "Accelerometer_X", "Accelerometer_Y", "Accelerometer_Z", "gyr_x", "gyr_y", "gyr_z"],
        ["Time (s)", *PHYPHOX["Accelerometer"], *PHYPHOX["Gyroscope"]],
        ["seconds_elapsed", *(f"acc{a} [m/s²]" for a in "XYZ"), *(f"rotationRate{a}" for a in "XYZ")],
        ["elapsed", *"x_acc y_acc z_acc".split(), *(f"rotation_{axis}" for axis in "xyz")],
        ["time_s", *(f"acc_{a}_ms2" for a in "xyz"), *(f"gyro_{a}_rad_s" for a in "xyz")],
        ["datetime", *(f"Acceleration (with g) {a} (m/s^2)" for a in "xyz"), *(f"w{a} (rad/s)" for a in "xyz")],
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


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_encodings_and_windows_line_ends_do_no_harm(tmp_path, encoding):
    table = still()
    table[:, 0] += 1234.5
    path = tmp_path / "own.csv"
    header = ["time", *(f"acc_{a} (m/s²)" for a in "xyz"), *(f"gyro_{a} (°/s)" for a in "xyz")]
    path.write_bytes((text(table, header) + "\n\n").replace("\n", "\r\n").encode(encoding))
    recording = recordings.read(path)
    assert recording.time[0] == 0
    np.testing.assert_allclose(recording.acceleration, table[:, 1:4], rtol=1e-8)
    np.testing.assert_allclose(recording.rotation, np.radians(table[:, 4:]), rtol=1e-8)


def test_a_gap_is_named_in_a_warning_and_kept(tmp_path):
    table = np.delete(still(20), slice(500, 600), axis=0)  # two seconds
    with pytest.warns(UserWarning, match=r"2\.02 s are missing after line 501 \(time 9\.98 s\)"):
        recording = recordings.read(write(tmp_path / "own.csv", table))
    assert len(recording.time) == 900
    assert np.diff(recording.time).max() == pytest.approx(2.02)


@pytest.mark.parametrize("samples", [1, 2, 250, 299])
def test_less_than_six_seconds_are_refused(tmp_path, samples):
    assert "at least 6 s" in refusal(write(tmp_path / "own.csv", still()[:samples]))


def test_exactly_six_seconds_are_enough(tmp_path):
    assert len(recordings.read(write(tmp_path / "own.csv", still()[:300])).time) == 300


@pytest.mark.parametrize("column", range(7))
def test_a_missing_column_is_named_with_what_was_found(tmp_path, column):
    header = [name for i, name in enumerate(HEADER) if i != column]
    message = refusal(write(tmp_path / "own.csv", np.delete(still(), column, axis=1), header))
    assert f"no column for {['time', *recordings.CHANNELS][column]};" in message
    assert ", ".join(header) in message


# --- phyphox -------------------------------------------------------------------------------------


def phyphox(path, table, separator=",", decimal=".", extra=True):
    """A zip as phyphox's "Acceleration with g" and "Gyroscope" export it, each sensor with a clock of its own."""
    form = {"form": "%.9E", "separator": separator, "decimal": decimal, "quote": '"'}
    time, force, turn = table[:, :1], table[:, 1:4], table[:, 4:]
    size = lambda values: np.linalg.norm(values, axis=1)
    absolute = ["Absolute acceleration (m/s^2)"]
    members = {
        "Accelerometer.csv": text(
            np.column_stack([time, force, size(force)]), ["Time (s)", *PHYPHOX["Accelerometer"], *absolute], **form
        ),
        "Gyroscope.csv": text(
            np.column_stack([time, turn, size(turn)]), ["Time (s)", *PHYPHOX["Gyroscope"], "Absolute (rad/s)"], **form
        ),
        "meta/device.csv": '"property","value"\n"deviceModel","SM-G960F"\n',
        "meta/time.csv": '"event","experiment time","system time"\n"START",0.0,1700000000.1\n',
    }
    if extra:  # the experiment may record more
        body = signals.split_gravity(force, 50.0)[1]
        names = ["Time (s)", *PHYPHOX["Linear Acceleration"]]
        members["Linear Acceleration.csv"] = text(np.column_stack([time, body]), names, **form)
        members["Pressure.csv"] = '"Time (s)","Pressure (hPa)"\n'
    return zipped(path, members)


@pytest.mark.parametrize(("separator", "decimal"), [(",", "."), ("\t", "."), (";", "."), ("\t", ","), (";", ",")])
def test_phyphox_is_read_in_its_five_variants(tmp_path, separator, decimal):
    found = quietly(phyphox(tmp_path / "own.zip", walk(), separator, decimal))
    np.testing.assert_allclose(found.recording.imu, walk()[:, 1:], rtol=1e-8)
    assert (found["format"].value, found["gravity"].value) == ("phyphox", "included")
    assert not found.warnings


@pytest.mark.parametrize(("separator", "decimal"), [(",", "."), (";", ",")])
def test_phyphox_raw_data_in_one_csv_is_read(tmp_path, separator, decimal):
    path = tmp_path / "Raw Data.csv"
    header = ["Time (s)", *PHYPHOX["Accelerometer"], *PHYPHOX["Gyroscope"]]
    path.write_text(text(walk(), header, separator, "%.9E", '"', decimal))
    found = quietly(path)
    np.testing.assert_allclose(found.recording.imu, walk()[:, 1:], rtol=1e-8)
    assert found["format"].value == "phyphox"


def test_an_experiment_without_g_is_refused(tmp_path):
    path = phyphox(tmp_path / "own.zip", walk())
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist() if name != "Accelerometer.csv"}
    assert "acceleration without gravity" in refusal(zipped(tmp_path / "linear.zip", members))


# --- Sensor Logger -------------------------------------------------------------------------------


def metadata(platform, standardised="false"):
    header = (
        "version,device name,recording epoch time,recording time,recording timezone,platform,appVersion,device id,"
        "sensors,sampleRateMs,standardisation,platform version"
    )
    row = f"3,Phone,{EPOCH // 10**6},2024-06-10_14-45-36,Europe/London,{platform},1.64,x,A|G,20|20,{standardised},17"
    return f"{header}\n{row}\n"


def sensor(time, values):
    """One sensor's file: nanoseconds since 1970, seconds since the start, and z, y, x."""
    rows = [
        f"{EPOCH + round(t * 1e9)},{t:.9g},{z:.12g},{y:.12g},{x:.12g}"
        for t, (x, y, z) in zip(time, values, strict=True)
    ]
    return "\n".join(["time,seconds_elapsed,z,y,x", *rows, ""])


def sensor_logger(table, platform="android", standardised="false"):
    """{file name: content} of an export; iPhones write no TotalAcceleration, and their axes point the other way."""
    time, force, turn = table[:, 0], table[:, 1:4], table[:, 4:]
    gravity, body = signals.split_gravity(force, 50.0)
    sign = -1 if platform == "ios" and standardised == "false" else 1
    members = {
        "Accelerometer.csv": sensor(time, sign * body),
        "Gravity.csv": sensor(time, sign * gravity),
        "Gyroscope.csv": sensor(time, turn),
        "Magnetometer.csv": sensor(time, turn + 40),
        "Annotation.csv": "time,seconds_elapsed,text,millisecond_press_duration\n",
        "Metadata.csv": metadata(platform, standardised),
    }
    if platform == "android":
        members["TotalAcceleration.csv"] = sensor(time, force)
    return members


@pytest.mark.parametrize(
    ("platform", "standardised", "gravity", "direction"),
    [
        ("android", "false", "included", "as in the file"),
        ("ios", "false", "added", "negated"),
        ("ios", "true", "added", "as in the file"),
    ],
)
def test_sensor_logger_is_read_from_both_systems(tmp_path, platform, standardised, gravity, direction):
    found = quietly(zipped(tmp_path / "own.zip", sensor_logger(walk(), platform, standardised)))
    np.testing.assert_allclose(found.recording.imu, walk()[:, 1:], atol=1e-8)
    assert (found["gravity"].value, found["direction"].value) == (gravity, direction)
    assert found["format"].value == "Sensor Logger"


def test_a_zip_in_a_folder_and_a_folder_say_the_same(tmp_path):
    members = sensor_logger(walk())
    inside = quietly(zipped(tmp_path / "own.zip", {f"2024-06-10_14-45-36/{name}": t for name, t in members.items()}))
    folder = tmp_path / "unpacked"
    folder.mkdir()
    for name, content in members.items():
        (folder / name).write_text(content)
    np.testing.assert_array_equal(quietly(folder).recording.imu, inside.recording.imu)


def test_uncalibrated_acceleration_of_an_iphone_is_in_g(tmp_path):
    table = walk()
    members = {
        "AccelerometerUncalibrated.csv": sensor(table[:, 0], -table[:, 1:4] / STANDARD_GRAVITY),
        "GyroscopeUncalibrated.csv": sensor(table[:, 0], table[:, 4:]),
        "Metadata.csv": metadata("ios"),
    }
    found = quietly(zipped(tmp_path / "own.zip", members))
    np.testing.assert_allclose(found.recording.imu, table[:, 1:], atol=1e-8)
    assert found["acceleration"].value == "g"


def test_an_unknown_phone_is_said_to_be_unknown(tmp_path):
    members = sensor_logger(walk())
    del members["Metadata.csv"]
    found = quietly(zipped(tmp_path / "own.zip", members))
    assert found["direction"].sure < 0.7
    assert any("direction" in text for text in found.warnings)


def wrist(table):
    """``WristMotion.csv`` of an Apple Watch: in g, pointing down."""
    gravity, body = signals.split_gravity(-table[:, 1:4] / STANDARD_GRAVITY, 50.0)
    names = [f"{word}{axis}" for word in ("rotationRate", "gravity", "acceleration") for axis in "XYZ"]
    stamps = EPOCH + np.round(table[:, 0] * 1e9)
    columns = [stamps, table[:, 0], table[:, 4:], gravity, body]
    return text(np.column_stack(columns), ["time", "seconds_elapsed", *names], form="%.17g")


def test_a_watch_is_read_alone_and_left_out_beside_a_phone(tmp_path):
    alone = quietly(zipped(tmp_path / "own.zip", {"WristMotion.csv": wrist(walk()), "Metadata.csv": metadata("ios")}))
    np.testing.assert_allclose(alone.recording.imu, walk()[:, 1:], atol=1e-8)
    both = sensor_logger(walk(), "ios") | {"WristMotion.csv": wrist(walk()[:, [0, 2, 3, 1, 4, 5, 6]])}
    found = quietly(zipped(tmp_path / "both.zip", both))
    np.testing.assert_allclose(found.recording.imu, walk()[:, 1:], atol=1e-8)
    assert "watch" in found.repairs[0]


def test_one_file_of_a_sensor_logger_export_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "Accelerometer.csv").write_text(sensor_logger(walk())["Accelerometer.csv"])
    message = refusal(tmp_path / "Accelerometer.csv")
    assert "gravity was removed" in message
    assert "zip or folder" in message


# --- Physics Toolbox -----------------------------------------------------------------------------


def physics_toolbox(table, separator=",", decimal=".", minus="-", clock=None, before=""):
    """The app's CSV with all sensors, as its versions differ in clock, separator and first line."""
    names = ["time", "gFx", "gFy", "gFz", "ax", "ay", "az", "wx", "wy", "wz", "Gain"]
    body = signals.split_gravity(table[:, 1:4], 50.0)[1]
    lines = [separator.join(names)]
    for time, row in zip(table[:, 0], np.column_stack([table[:, 1:4] / 9.80665, body, table[:, 4:]]), strict=True):
        values = [f"{value:.9f}".replace(".", decimal).replace("-", minus) for value in row]
        stamp = clock(time) if clock else f"{time:.6f}".replace(".", decimal)
        lines.append(separator.join([stamp, *values, f"{minus}∞"]))
    return before + "\n".join(lines) + "\n"


def day(time):
    return f"2018-10-03 17:{23 + int(time) // 60:02d}:{time % 60:07.4f}"


def hour(time):
    return f"17:23:{int(time) % 60:02d}:{round(time % 1 * 1000) % 1000:03d}"


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"separator": ";", "decimal": ",", "minus": "−"},
        {"before": "\n"},
        {"clock": day},
        {"clock": hour},
        {"before": "sep=;\n", "separator": ";"},
    ],
)
def test_physics_toolbox_is_read_in_its_versions(tmp_path, variant):
    table = walk()
    table[:, 0] = np.round(table[:, 0], 3)
    path = tmp_path / "own.csv"
    path.write_text(physics_toolbox(table, **variant), encoding="utf-8")
    found = quietly(path)
    np.testing.assert_allclose(found.recording.imu, table[:, 1:], atol=1e-7)
    np.testing.assert_allclose(found.recording.time, table[:, 0], atol=1e-6)
    assert (found["format"].value, found["acceleration"].value) == ("Physics Toolbox", "g")


# --- two clocks ----------------------------------------------------------------------------------


def turning(time):
    """Rotation that is known at any time."""
    return np.stack([0.3 * np.sin(time), 0.2 * np.cos(2 * time), 0.1 * np.sin(0.5 * time)], axis=1)


def two_clocks(path, keep=np.isfinite, start=0.0, rate=110.0):
    table = walk()
    fast = start + np.arange(0, 30, 1 / rate)
    fast = fast[keep(fast)]
    members = {
        "TotalAcceleration.csv": sensor(table[:, 0], table[:, 1:4]),
        "Gyroscope.csv": sensor(fast, turning(fast)),
        "Metadata.csv": metadata("android"),
    }
    return zipped(path, members)


@given(st.floats(55, 210), st.floats(-2, 2))
@settings(max_examples=10, deadline=None)
def test_two_clocks_are_joined_on_time(tmp_path_factory, rate, start):
    path = two_clocks(tmp_path_factory.mktemp("joined") / "own.zip", start=start, rate=rate)
    recording = recordings.inspect(path).recording
    begin = max(0.0, walk()[np.searchsorted(walk()[:, 0], start), 0])
    np.testing.assert_allclose(recording.rotation, turning(begin + recording.time), atol=5e-4)
    assert recording.duration == pytest.approx(30 - abs(start), abs=0.1)


def test_a_gap_in_the_gyroscope_is_never_bridged(tmp_path):
    found = recordings.inspect(two_clocks(tmp_path / "own.zip", keep=lambda time: (time < 10) | (time > 12)))
    time = found.recording.time
    assert not ((time > 10.02) & (time < 11.98)).any()
    assert np.diff(time).max() == pytest.approx(2, abs=0.06)
    assert "are missing after line" in found.warnings[0]
    assert "without rotation" in found.repairs[0]


def test_sensors_that_never_ran_together_are_refused(tmp_path):
    assert "no time in common" in refusal(two_clocks(tmp_path / "own.zip", start=100.0))


# --- units ---------------------------------------------------------------------------------------


def rescaled(table, acceleration, rotation, time):
    table = table.copy()
    table[:, 0] *= {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[time]
    table[:, 1:4] /= {"m/s^2": 1, "g": STANDARD_GRAVITY}[acceleration]
    table[:, 4:] *= {"rad/s": 1, "deg/s": 180 / np.pi}[rotation]
    return table


def piece(hapt_recordings, rng):
    """Six to twenty seconds of somebody's day."""
    recording = hapt_recordings[rng.integers(len(hapt_recordings))]
    length = rng.integers(300, 1000)
    start = rng.integers(0, len(recording.time) - length)
    return np.column_stack([recording.time, recording.imu])[start : start + length]


def test_units_are_found_in_99_of_100_real_recordings(hapt_recordings, tmp_path):
    rng = np.random.default_rng(2026)
    right, sure_and_wrong = 0, 0
    for _ in range(200):
        table = piece(hapt_recordings, rng)
        true = [str(rng.choice(names)) for names in (("m/s^2", "g"), ("rad/s", "deg/s"), ("s", "ms", "us", "ns"))]
        found = recordings.inspect(write(tmp_path / "own.csv", rescaled(table, *true)))
        same = [found[what].value for what in ("acceleration", "rotation", "time")] == true
        right += same and np.allclose(found.recording.imu, table[:, 1:], rtol=1e-6, atol=1e-8)
        sure_and_wrong += not same and not found.warnings
    assert right >= 198
    assert sure_and_wrong == 0


def test_a_header_that_tells_the_truth_is_never_doubted(hapt_recordings, tmp_path):
    rng = np.random.default_rng(1)
    for _ in range(50):
        rotation = str(rng.choice(["rad/s", "deg/s"]))
        header = ["time (s)", *(f"acc_{a} (m/s^2)" for a in "xyz"), *(f"gyro_{a} ({rotation})" for a in "xyz")]
        table = piece(hapt_recordings, rng)
        found = recordings.inspect(write(tmp_path / "own.csv", rescaled(table, "m/s^2", rotation, "s"), header))
        np.testing.assert_allclose(found.recording.rotation, table[:, 4:], atol=1e-7)
        assert not found.warnings


@pytest.mark.parametrize(
    ("stated", "change", "words"),
    [
        ({"acceleration": "m/s^2"}, ("g", "rad/s", "s"), ["said to be in m/s^2", "looks like g"]),
        ({"acceleration": "g"}, ("m/s^2", "rad/s", "s"), ["said to be in g", "looks like m/s^2"]),
        ({"rotation": "rad/s"}, ("m/s^2", "deg/s", "s"), ["rad/s", "deg/s"]),
        ({"rotation": "deg/s"}, ("m/s^2", "rad/s", "s"), ["said to be in deg/s", "as rad/s would"]),
        ({"time": "s"}, ("m/s^2", "rad/s", "ms"), ["said to be in s", "looks like ms"]),
        ({"time": "ms"}, ("m/s^2", "rad/s", "s"), ["said to be in ms", "looks like s"]),
    ],
)
@pytest.mark.parametrize("by", ["header", "caller"])
def test_a_contradiction_is_refused_with_both_facts(hapt_recordings, tmp_path, stated, change, words, by):
    recording = hapt_recordings[0]
    table = rescaled(np.column_stack([recording.time, recording.imu])[12000:15000], *change)  # sits down, lies down
    ((quantity, unit),) = stated.items()
    first = {"acceleration": "acc", "rotation": "gyro", "time": "time"}[quantity]
    header = [f"{name} ({unit})" if name.startswith(first) and by == "header" else name for name in HEADER]
    message = refusal(write(tmp_path / "own.csv", table, header), **(stated if by == "caller" else {}))
    assert [word for word in words if word not in message] == []


def test_a_stated_unit_wins_where_numbers_cannot_tell(tmp_path):
    table = still()
    table[:, 4:] *= 3  # neither this nor that: noise of a phone on a table
    path = write(tmp_path / "own.csv", table)
    guess = recordings.inspect(path)
    assert guess["rotation"].sure < 0.85
    assert any("rotation" in text and "uncertain" in text for text in guess.warnings)
    with pytest.warns(UserWarning, match=r"own\.csv: rotation \(.*\) is uncertain"):
        recordings.read(path)
    for unit, factor in (("rad/s", 1), ("deg/s", np.pi / 180)):
        found = recordings.inspect(path, rotation=unit)
        np.testing.assert_allclose(found.recording.rotation, table[:, 4:] * factor, rtol=1e-7)
        assert not found.warnings


def test_a_unit_that_does_not_exist_is_refused():
    with pytest.raises(RecordingError, match=r"'furlong' is no unit of acceleration .*m/s\^2 or g"):
        recordings.read(WALK, acceleration="furlong")


def test_findings_read_as_a_table():
    lines = str(recordings.inspect(WALK)).splitlines()
    assert lines[0].endswith("segments>")
    assert [line.split()[0] for line in lines[1:]][:5] == ["format", "time", "acceleration", "gravity", "direction"]


def test_real_people_without_gravity_are_refused(hapt_recordings, tmp_path):
    for recording in hapt_recordings[::2]:
        for segment in recording.segments[::2]:
            inside = (recording.time >= segment.start) & (recording.time < segment.end)
            if inside.sum() < 300:
                continue
            table = np.column_stack([recording.time, recording.imu])[inside]
            table[:, 1:4] = signals.split_gravity(table[:, 1:4], 50.0)[1]
            assert "gravity seems to have been removed" in refusal(write(tmp_path / "own.csv", table))


# --- there and back ------------------------------------------------------------------------------

FORMATS = {"csv": "own.csv", "phyphox": "own.zip", "sensor logger": "sl.zip", "physics toolbox": "pt.csv"}


def assert_there_and_back(recording, folder, form):
    path = recordings.write(recording, folder / FORMATS[form], format=form)
    copy = recordings.inspect(path).recording
    np.testing.assert_allclose(copy.time, recording.time - recording.time[0], atol=1e-6)
    np.testing.assert_allclose(copy.imu, recording.imu, rtol=1e-8, atol=1e-9)
    assert [file.name for file in folder.iterdir()] == [path.name]


@pytest.mark.parametrize("form", FORMATS)
@given(data=st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_recording_comes_back_as_it_was(tmp_path_factory, form, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    rate = data.draw(st.floats(25, 200))
    steps = rng.uniform(0.8, 1.2, round(7 * rate)) / rate
    up = rng.normal(size=3)
    force = 9.81 * up / np.linalg.norm(up) + rng.normal(0, data.draw(st.floats(0.01, 3)), (len(steps), 3))
    turn = rng.normal(0, data.draw(st.floats(0.001, 3)), (len(steps), 3))
    recording = Recording(data.draw(st.floats(0, 1000)) + np.cumsum(steps), force, turn, subject="x")
    assert_there_and_back(recording, tmp_path_factory.mktemp("there"), form)


@pytest.mark.parametrize("form", FORMATS)
def test_real_recordings_come_back_as_they_were(hapt_recordings, tmp_path_factory, form):
    rng = np.random.default_rng(3)
    for _ in range(5):
        table = piece(hapt_recordings, rng)
        recording = Recording(table[:, 0], table[:, 1:4], table[:, 4:], subject="x")
        assert_there_and_back(recording, tmp_path_factory.mktemp("there"), form)


def test_the_same_recording_gives_the_same_bytes(tmp_path):
    sample = recordings.read(WALK)
    for form in FORMATS:
        one, two = (recordings.write(sample, tmp_path / name, format=form) for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_an_unknown_format_is_refused_and_writes_nothing(tmp_path):
    with pytest.raises(RecordingError, match=r"'gpx' is no format.*phyphox"):
        recordings.write(recordings.read(WALK), tmp_path / "own.gpx", format="gpx")
    assert list(tmp_path.iterdir()) == []


# --- malformed files -----------------------------------------------------------------------------
# Each entry: what is done to the lines (or the table) of a sound file, and the words of the refusal or of the repair.


def lines_of(change):
    def build(path):
        lines = text(walk()).splitlines()
        lines = change(lines) or lines
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    return build


def table_of(change, **kwargs):
    def build(path):
        table = walk()
        changed = change(table)
        path.write_text(text(table if changed is None else changed, **kwargs), encoding="utf-8")

    return build


def content_of(content):
    return lambda path: path.write_bytes(content)


def cell(row, column, value):
    def change(lines):
        fields = lines[row].split(",")
        fields[column] = value
        lines[row] = ",".join(fields)

    return lines_of(change)


def assign(rows, columns, value):
    def change(table):
        table[rows, columns] = value(table[rows, columns]) if callable(value) else value

    return table_of(change)


def workbook():
    buffer = io.BytesIO()
    zipped(buffer, {"[Content_Types].xml": "<x/>", "xl/workbook.xml": "<x/>"})
    return buffer.getvalue()


def two_in_one():
    buffer = io.BytesIO()
    zipped(buffer, {f"{i}/{name}": content for i in "ab" for name, content in sensor_logger(walk()).items()})
    return buffer.getvalue()


def lonely(*names):
    buffer = io.BytesIO()
    zipped(buffer, {name: content for name, content in sensor_logger(walk()).items() if name in names})
    return buffer.getvalue()


def collection(folder):
    folder.mkdir()
    for name in ("monday.csv", "tuesday.csv"):
        write(folder / name, walk())


def flipped(content):
    """A zip with one wrong byte inside a member."""
    spoilt = bytearray(content)
    spoilt[len(spoilt) // 2] ^= 0xFF
    return bytes(spoilt)


REFUSED = {
    "empty file": (content_of(b""), "is empty"),
    "blank lines only": (content_of(b"\n\n\n"), "is empty"),
    "header only": (content_of(",".join(HEADER).encode() + b"\n"), "no data"),
    "picture": (content_of(b"\x89PNG\r\n\x1a\n\xff\xfe\x00\x00"), "not a text file"),
    "web page": (content_of(b"<html><body>Not found</body></html>\n<p>\n"), "no column for time"),
    "Excel workbook": (content_of(workbook()), "Excel workbook"),
    "quotation mark never closed": (lines_of(lambda lines: ['"' + lines[0], *lines[1:]]), "line 1 is never closed"),
    "zip cut short": (lambda path: path.with_suffix(".zip").write_bytes(lonely("Gyroscope.csv")[:999]), "damaged"),
    "zip with a wrong byte": (content_of(flipped(lonely("TotalAcceleration.csv", "Gyroscope.csv"))), "damaged|cannot"),
    "zip of other sensors": (content_of(lonely("Annotation.csv", "Magnetometer.csv")), "no recording in it"),
    "zip of two recordings": (content_of(two_in_one()), "two recordings"),
    "zip without gyroscope": (content_of(lonely("TotalAcceleration.csv")), "rotation|gyroscope"),
    "zip without gravity": (content_of(lonely("Accelerometer.csv", "Gyroscope.csv")), "without gravity"),
    "folder of two recordings": (lambda path: collection(path.with_suffix(".folder")), "both hold acceleration"),
    "empty folder": (lambda path: path.with_suffix(".folder").mkdir(), "no recording in it"),
    "no header": (lines_of(lambda lines: lines[1:]), "there is no header"),
    "renamed columns": (lines_of(lambda lines: ["a1,a2,a3,a4,a5,a6,a7", *lines[1:]]), "no column for time"),
    "two columns of one meaning": (table_of(lambda t: t[:, [0, 1, 2, 3, 4, 5, 6, 1]], header=[*HEADER, "ax"]), "both"),
    "unknown unit": (table_of(lambda t: t, header=[*HEADER[:6], "gyro_z (rpm)"]), "'rpm' is no unit"),
    "two units": (table_of(lambda t: t, header=["time", "ax (g)", "ay (m/s2)", *HEADER[3:]]), "Use one unit"),
    "text in a cell": (cell(41, 2, "abc"), r"line 42, column 'acc_y': 'abc' is not a number"),
    "header again in the middle": (lines_of(lambda lines: lines.insert(500, lines[0])), "line 501, column 'time'"),
    "decimal commas between commas": (table_of(lambda t: t, decimal=","), r"line 2 has 1\d values, the header 7"),
    "a value too many": (lines_of(lambda lines: [*lines[:20], lines[20] + ",1", *lines[21:]]), "line 21 has 8 values"),
    "many values missing": (assign(slice(100, 200), 1, np.nan), r"line 102: .* 99 more of 1500 lines"),
    "two recordings in one file": (table_of(lambda t: np.vstack([t, t])), "line 1502: time goes back"),
    "time that stands still": (assign(slice(None), 0, 5.0), "time never advances"),
    "clock of whole seconds": (assign(slice(None), 0, np.floor), "clock is too coarse"),
    "ten samples per second": (table_of(lambda t: t[::5]), "10.* samples per second are too few"),
    "five seconds": (table_of(lambda t: t[:250]), "only 5.0 s of data"),
    "gaps everywhere": (table_of(lambda t: t[np.arange(len(t)) % 250 < 225]), "the first gap is after line 226"),
    "gravity removed": (
        table_of(lambda t: np.column_stack([t[:, 0], signals.split_gravity(t[:, 1:4], 50.0)[1], t[:, 4:]])),
        "gravity seems to have been removed",
    ),
    "raw counts": (assign(slice(None), slice(1, 4), lambda v: v * 417), "Check the unit"),
    "dead axis": (assign(slice(None), 5, 0.0), "rotation y never changes from 0"),
    "no gyroscope, zeros instead": (assign(slice(None), slice(4, 7), 0.0), "rotation x never changes"),
    "clipped": (assign(slice(None), 1, lambda v: np.clip(3 * v - 19, -16, 16)), r"at its limit of 16 in \d+%"),
    "impossible rotation": (assign(700, 5, 1e6), "no phone measures more than"),
}
REPAIRED = {
    "a missing value": (cell(41, 2, ""), "line 42"),
    "nan in the middle": (cell(41, 2, "NaN"), "line 42"),
    "infinity": (cell(41, 2, "-inf"), "line 42"),
    "a blank line in the middle": (lines_of(lambda lines: lines.insert(10, "")), "line 11"),
    "last line cut off": (lines_of(lambda lines: [*lines[:-1], lines[-1][:12]]), "line 1501"),
    "lines swapped": (lines_of(lambda lines: [*lines[:50], lines[51], lines[50], *lines[52:]]), "1 line out of order"),
    "lines repeated": (lines_of(lambda lines: lines[:50] + lines[40:]), "10 lines repeated exactly|out of order"),
    "every line twice": (lines_of(lambda lines: [lines[0], *(line for line in lines[1:] for _ in "ab")]), "1500 lines"),
    "one time stamp twice": (assign(100, 0, 2.0001), None),
    "blank lines at both ends": (lines_of(lambda lines: ["", "# made by hand", *lines, "", ""]), None),
    "milliseconds": (assign(slice(None), 0, lambda v: v * 1000), None),
    "semicolons and decimal commas": (table_of(lambda t: t, separator=";", decimal=","), None),
    "decimal commas in quotes": (
        lines_of(lambda ls: [ls[0]] + [",".join(f'"{v.replace(".", ",")}"' for v in x.split(",")) for x in ls[1:]]),
        None,
    ),
}


def spoilt(name, folder):
    """The path of a malformed file."""
    path = folder / "own.csv"
    build, words = (REFUSED | REPAIRED)[name]
    build(path)
    return next(folder.glob("own.*")), words


def test_at_least_thirty_ways_to_spoil_a_file_are_tried():
    assert len(REFUSED | REPAIRED) >= 30


@pytest.mark.parametrize("name", REFUSED)
def test_a_malformed_file_is_refused_in_one_sentence(tmp_path, command, name):
    path, words = spoilt(name, tmp_path)
    message = refusal(path)
    assert re.search(words, message), message
    code, out, err = command("prepare", path)
    assert (code, out) == (2, "")
    assert err == f"llasa: {message}\n"


@pytest.mark.parametrize("name", REPAIRED)
def test_a_malformed_file_is_repaired_and_the_repair_told(tmp_path, name):
    path, words = spoilt(name, tmp_path)
    found = quietly(path)
    clean, sample = recordings.read(WALK), found.recording
    assert len(clean.time) - 2 <= len(sample.time) <= len(clean.time)
    # Every sample that is left is a sample of the sound file, at its time.
    nearest = np.abs(clean.time[None] - sample.time[:, None]).argmin(axis=1)
    np.testing.assert_allclose(sample.imu, clean.imu[nearest], rtol=1e-6)
    np.testing.assert_allclose(sample.time, clean.time[nearest], atol=0.03)
    if words:
        assert re.search(words, " ".join(found.repairs)), found.repairs


@given(st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_no_damage_ends_in_a_traceback(tmp_path_factory, random):
    content = bytearray(text(still(7, 30)).encode())
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(content))
        junk = bytes(random.choices(b"0123456789.,;:-e\n\t\r \"'x\0\xff", k=random.randint(0, 5)))
        content[at : at + random.choice((0, 1, 5, 5000))] = junk
    path = tmp_path_factory.mktemp("damaged") / "own.csv"
    path.write_bytes(content)
    try:
        duration, message = recordings.inspect(path).recording.duration, str(path)
    except LlasaError as error:
        duration, message = np.inf, str(error)
    assert duration > 5.9
    assert str(path) in message
    assert "\n" not in message


# --- command line --------------------------------------------------------------------------------


def test_prepare_tells_how_a_recording_is_understood(tmp_path, command):
    path = tmp_path / "own.csv"
    path.write_text(physics_toolbox(walk()), encoding="utf-8")
    code, out, err = command("prepare", path)
    assert code == 0, err
    for words in ("Physics Toolbox", "rotation", "the steady part", "beware: direction", "5 windows", "llasa ask"):
        assert words in out


def test_prepare_takes_units_and_saves_what_it_understood(tmp_path, command):
    path = write(tmp_path / "own.csv", rescaled(walk(), "g", "deg/s", "ms"))
    stated = ["--acceleration", "g", "--rotation", "deg/s", "--time", "ms"]
    code, out, _ = command("prepare", path, *stated)
    assert code == 0
    assert "--save" in out
    code, out, _ = command("prepare", path, *stated, "--save", tmp_path / "si.csv")
    assert code == 0
    assert f"llasa ask {tmp_path / 'si.csv'}" in out
    np.testing.assert_allclose(recordings.read(tmp_path / "si.csv").imu, walk()[:, 1:], rtol=1e-7)


def test_units_without_a_file_are_refused(command):
    code, _, err = command("prepare", "--rotation", "deg/s")
    assert code == 2
    assert "llasa prepare FILE" in err


def test_the_real_command_ends_in_one_sentence(tmp_path):
    path, words = spoilt("text in a cell", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "llasa_lib", "prepare", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
