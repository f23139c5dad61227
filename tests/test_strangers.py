"""Promises about recordings of strangers, as apps and loggers wrote them: no wrong result is given in silence.

Each test holds a kind of file that was once read wrongly, or refused for a reason that was not true, and relatives.
"""

import csv
import json
import os
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from test_own import (
    EPOCH,
    HEADER,
    physics_toolbox,
    quietly,
    refusal,
    sensor,
    sensor_logger,
    still,
    text,
    walk,
    wrist,
    write,
    zipped,
)

from llasa_lib import recordings, signals
from llasa_lib.errors import RecordingError
from llasa_lib.recordings import STANDARD_GRAVITY


def parts(table):
    """(T, 3) gravity and body acceleration, m/s^2, pointing up at rest."""
    return signals.split_gravity(table[:, 1:4], 50.0)


def folder(path, members):
    path.mkdir()
    for name, content in members.items():
        (path / name).write_text(content, encoding="utf-8")
    return path


def turned(seconds=30.0, rate=100.0):
    """(T, 7): a phone that is turned about all its axes in the hand, as physics has it: gravity turns with it."""
    time = np.arange(int(seconds * rate)) / rate
    rotation = np.stack([np.sin(0.9 * time), 0.7 * np.cos(0.5 * time), 0.5 * np.sin(0.3 * time + 1)], axis=1)
    up = np.zeros((len(time), 3))
    up[0] = 0, 0.6, 0.8
    for i in range(1, len(time)):
        up[i] = up[i - 1] - np.cross(rotation[i - 1], up[i - 1]) / rate
        up[i] /= np.linalg.norm(up[i])
    noise = np.random.default_rng(0).normal(0, 0.2, (len(time), 3))
    return np.column_stack([time, STANDARD_GRAVITY * up + noise, rotation + 0.02 * noise])


def milli(time):
    """The milliseconds of a clock time."""
    return round(time * 1000) % 1000


def second(time):
    """Its whole seconds."""
    return round(time * 1000) // 1000


def warned(found, words):
    assert any(re.search(words, warning) for warning in found.warnings), found.warnings


def same_motion(found, table, atol=1e-6):
    np.testing.assert_allclose(found.recording.imu, table[:, 1:], atol=atol)


# --- the sign of gravity -----------------------------------------------------------------------------


def core_motion(table, names, split=True):
    """Text of a CSV as Apple has it: g, pointing down at rest, gravity and user acceleration apart."""
    gravity, body = (-part / STANDARD_GRAVITY for part in parts(table))
    columns = [gravity, body] if split else [gravity + body]
    header = ["timestamp", *(name.format(axis) for name in names for axis in "xyz")]
    return text(np.column_stack([table[:, 0], *columns, table[:, 4:]]), header, form="%.12g")


APPLE = {
    "Core Motion": (["gravity.{}", "userAcceleration.{}", "rotationRate.{}"], True),
    "Core Motion in capitals": (["GRAVITY.{}", "USERACCELERATION.{}", "ROTATIONRATE.{}"], True),
    "underscores": (["gravity_{}", "user_acceleration_{}", "rotation_rate_{}"], True),
    "units in brackets": (["gravity_{}(G)", "user_acc_{}(G)", "rotation_rate_{}(R)"], True),
    "SensorLog, device motion": (
        ["motionGravity{}(G)", "motionUserAcceleration{}(G)", "motionRotationRate{}(rad/s)"],
        True,
    ),
    "SensorLog, raw sensors": (["accelerometerAcceleration{}(G)", "gyroRotation{}(rad/s)"], False),
}


@pytest.mark.parametrize("name", APPLE)
def test_what_core_motion_wrote_is_turned_round(tmp_path, name):
    (tmp_path / "own.csv").write_text(core_motion(walk(), *APPLE[name]))
    found = quietly(tmp_path / "own.csv")
    same_motion(found, walk())
    assert (found["direction"].value, found.warnings) == ("negated", ())


def test_names_of_core_motion_in_other_units_are_doubted(tmp_path):
    header = [f"{word}{axis} (m/s^2)" for word in ("gravity", "userAcceleration") for axis in "XYZ"]
    table = np.column_stack([walk()[:, :1], *parts(walk()), walk()[:, 4:]])
    path = write(tmp_path / "own.csv", table, ["time", *header, *(f"rotationRate{axis}" for axis in "XYZ")])
    warned(recordings.inspect(path), "direction .*--sign")
    same_motion(quietly(path, sign="up"), walk())


def test_motionsense_and_its_files_read_as_csv_agree(tmp_path):
    import formats

    imu = walk()[:400, 1:]
    formats.write_motionsense(tmp_path, 1, imu)
    lines = (tmp_path / "A_DeviceMotion_data" / "wlk_7" / "sub_1.csv").read_text().splitlines()
    timed = [f"time{lines[0]}", *(f"{i / 50:.2f},{line.split(',', 1)[1]}" for i, line in enumerate(lines[1:]))]
    (tmp_path / "own.csv").write_text("\n".join(timed))
    np.testing.assert_allclose(recordings.read(tmp_path / "own.csv").imu, imu, atol=1e-9)


def test_sensorlog_with_all_its_columns_is_read(tmp_path):
    table = walk()
    gravity, body = (-part / STANDARD_GRAVITY for part in parts(table))
    header = ["loggingTime(txt)", "accelerometerTimestamp_sinceReboot(s)", "gyroTimestamp_sinceReboot(s)"]
    words = ["accelerometerAcceleration{}(G)", "gyroRotation{}(rad/s)", "motionUserAcceleration{}(G)"]
    words += ["motionGravity{}(G)", "motionRotationRate{}(rad/s)"]
    header += [word.format(axis) for word in words for axis in "XYZ"]
    columns = [table[:, 0] + 9000, table[:, 0] + 9000, gravity + body, table[:, 4:] + 0.01, body, gravity, table[:, 4:]]
    rows = text(np.column_stack(columns), header, form="%.12g").splitlines()
    stamped = [f"2024-05-01 10:00:{second(t):02d}.{milli(t):03d} +0200" for t in table[:, 0]]
    body = [f"{stamp},{row}" for stamp, row in zip(stamped, rows[1:], strict=True)]
    (tmp_path / "own.csv").write_text("\n".join([rows[0], *body]))
    found = quietly(tmp_path / "own.csv")
    same_motion(found, table)
    assert found["format"].value == "SensorLog"


def test_g_in_sensor_logger_is_apple(tmp_path):
    table = walk()
    raw = {"GyroscopeUncalibrated.csv": sensor(table[:, 0], table[:, 4:])}
    in_g = raw | {"AccelerometerUncalibrated.csv": sensor(table[:, 0], -table[:, 1:4] / STANDARD_GRAVITY)}
    found = quietly(folder(tmp_path / "apple", in_g))
    same_motion(found, table, 1e-6)
    assert (found["direction"].value, found.warnings) == ("negated", ())
    members = sensor_logger(table, "ios") | in_g
    del members["Metadata.csv"]
    found = quietly(folder(tmp_path / "all", members))
    same_motion(found, table, 1e-6)
    assert (found["gravity"].value, found["direction"].value, found.warnings) == ("added", "negated", ())
    in_si = raw | {"AccelerometerUncalibrated.csv": sensor(table[:, 0], table[:, 1:4])}
    found = quietly(folder(tmp_path / "somebody", in_si))
    warned(found, "direction .* uncertain .*--sign")


@pytest.mark.parametrize("sign", ["up", "down"])
def test_a_reader_may_state_the_sign(tmp_path, command, sign):
    path = write(tmp_path / "own.csv", walk() * np.r_[1, [1 if sign == "up" else -1] * 3, 1, 1, 1])
    found = quietly(path, sign=sign)
    same_motion(found, walk())
    assert found["direction"].sure == 1
    np.testing.assert_array_equal(recordings.read(path, sign=sign).imu, found.recording.imu)
    code, out, _ = command("prepare", path, "--sign", sign, "--save", tmp_path / "si.csv")
    assert code == 0
    assert f"direction     {found['direction'].value}" in out
    np.testing.assert_allclose(recordings.read(tmp_path / "si.csv").imu, walk()[:, 1:], rtol=1e-7)


def test_a_stated_sign_beats_the_app_and_a_wrong_one_is_refused(tmp_path, command):
    (tmp_path / "own.csv").write_text(physics_toolbox(walk()))
    assert quietly(tmp_path / "own.csv", sign="up").warnings == ()
    with pytest.raises(RecordingError, match="'left' is no sign"):
        recordings.read(tmp_path / "own.csv", sign="left")
    code, _, err = command("prepare", "--sign", "up")
    assert (code, "llasa prepare FILE" in err) == (2, True)


def test_a_file_that_does_not_tell_its_sign_says_so(tmp_path):
    found = recordings.inspect(write(tmp_path / "own.csv", walk()))
    assert "nothing in the file tells" in found["direction"].evidence
    assert "--sign" in found["direction"].evidence


# --- the numbers decide where gravity is ----------------------------------------------------------------


def beside(table, names, unit=1.0):
    """A CSV of body acceleration, gravity and rotation under any names."""
    gravity, body = parts(table)
    header = ["time", *(name.format(axis) for name in names for axis in "XYZ")]
    return text(np.column_stack([table[:, 0], body / unit, gravity / unit, table[:, 4:]]), header, form="%.12g")


@pytest.mark.parametrize(
    "names",
    [
        ["ACCELEROMETER {} (m/s²)", "GRAVITY {} (m/s²)", "GYROSCOPE {} (rad/s)"],
        ["acceleration{}", "gravity{}", "gyro{}"],
        ["acc_{}", "grav_{}", "gyro_{}"],
        ["Total Acceleration {}", "Gravity {}", "Gyroscope {}"],
        ["Gravity {}", "Acceleration {}", "Gyroscope {}"],  # the names are the wrong way round
        ["Gravity {}", "Linear Acceleration {}", "Gyroscope {}"],
    ],
)
@pytest.mark.parametrize("unit", [1.0, STANDARD_GRAVITY])
def test_gravity_beside_acceleration_is_added_whatever_its_name(tmp_path, names, unit):
    if "m/s" in names[0] and unit != 1:
        pytest.skip("stated")
    (tmp_path / "own.csv").write_text(beside(walk(), names, unit), encoding="utf-8")
    found = quietly(tmp_path / "own.csv")
    same_motion(found, walk())
    assert found["gravity"].value == "added"


def test_gravity_beside_an_acceleration_that_holds_it_is_not_added(tmp_path):
    table = walk()
    gravity = parts(table)[0]
    header = ["time", *(f"{word}_{axis}" for word in ("linear_acc", "grav", "gyro") for axis in "xyz")]
    (tmp_path / "own.csv").write_text(
        text(np.column_stack([table[:, :4], gravity, table[:, 4:]]), header, form="%.12g")
    )
    found = quietly(tmp_path / "own.csv")
    same_motion(found, table)
    assert found["gravity"].value == "included"


def old_sensor_logger(time, values):
    """As in 2021: no seconds since the start."""
    rows = [f"{EPOCH + round(t * 1e9)},{z:.12g},{y:.12g},{x:.12g}" for t, (x, y, z) in zip(time, values, strict=True)]
    return "\n".join(["time,z,y,x", *rows, ""])


@pytest.mark.parametrize(("platform", "sign"), [("ios", -1), ("android", 1)])
def test_sensor_logger_of_2021_is_put_together(tmp_path, platform, sign):
    gravity, body = parts(walk())
    time, turn = walk()[:, 0], walk()[:, 4:]
    members = {"Accelerometer": sign * body, "Gravity": sign * gravity, "Gyroscope": turn}
    members = {f"{name}.csv": old_sensor_logger(time, values) for name, values in members.items()}
    meta = {"Metadata.csv": f"version,device name,recording time,platform\n2,Phone,2021-01-01_00-00-00,{platform}\n"}
    found = quietly(folder(tmp_path / "own", members | meta))
    same_motion(found, walk())
    assert (found["format"].value, found["gravity"].value) == ("Sensor Logger", "added")
    warned(quietly(folder(tmp_path / "unknown", members)), "--sign")


@pytest.mark.parametrize("name", ["WristMotion.csv", "Back01WristMotion.csv", "swim.csv", "WristMotion (1).csv"])
def test_a_watch_is_known_by_its_columns(tmp_path, name):
    (tmp_path / name).write_text(wrist(walk()))
    found = quietly(tmp_path / name)
    same_motion(found, walk())
    assert (found["gravity"].value, found["direction"].value) == ("added", "negated")


def test_of_two_accelerations_the_one_with_gravity_is_read(tmp_path):
    table = walk()
    plain = lambda values, unit: text(
        np.column_stack([table[:, 0], values]), ["Time (s)", *(f"{axis} ({unit})" for axis in "XYZ")], form="%.12g"
    )
    members = {"Accelerometer.csv": table[:, 1:4], "Accelerometer 2.csv": parts(table)[1]}
    members = {name: plain(values, "m/s^2") for name, values in members.items()}
    found = quietly(folder(tmp_path / "own", members | {"Gyroscope.csv": plain(table[:, 4:], "rad/s")}))
    same_motion(found, table)


# --- one physics check for units and clocks ---------------------------------------------------------------


@pytest.mark.parametrize("counts", [2048, 512, 1300])
def test_raw_counts_of_what_lies_still_are_refused(tmp_path, counts):
    table = still(20, 100)
    table[:, 1:4] = np.round(table[:, 1:4] / STANDARD_GRAVITY * counts)
    table[:, 4:] = np.round(np.degrees(table[:, 4:]) * 131)
    assert "lies still" in refusal(write(tmp_path / "own.csv", table))


def test_raw_counts_in_motion_are_doubted(tmp_path):
    table = walk()
    table[:, 1:4] = np.round(table[:, 1:4] / STANDARD_GRAVITY * 2048)
    warned(recordings.inspect(write(tmp_path / "own.csv", table)), "acceleration .* raw counts")


@pytest.mark.parametrize("per_degree", [131, 65.5, 16.4])
def test_raw_counts_of_a_gyroscope_are_doubted(tmp_path, per_degree):
    table = still(20, 100)
    table[:, 4:] = np.round(np.degrees(0.01 * table[:, 4:] + [0.004, -0.006, 0.01]) * per_degree)
    warned(recordings.inspect(write(tmp_path / "own.csv", table)), "rotation .* raw counts")


def test_a_gyroscope_that_turns_at_rest_is_doubted(tmp_path):
    table = still(20, 100)
    table[:, 4:] += 0.5
    warned(recordings.inspect(write(tmp_path / "own.csv", table), rotation="rad/s"), "while it lies still")


@pytest.mark.parametrize("sensors_own", [1.04, 0.95])
def test_a_cheap_sensor_at_rest_is_believed(tmp_path, sensors_own):
    table = still(20, 100)
    table[:, 1:4] *= sensors_own
    table[:, 4:] += 0.05
    assert recordings.inspect(write(tmp_path / "own.csv", table), rotation="rad/s").warnings == ()


@pytest.mark.parametrize("factor", [1 / (2 * np.pi), 5, 1 / 5])
def test_gravity_must_turn_as_fast_as_the_gyroscope_says(tmp_path, factor):
    table = turned()
    assert recordings.inspect(write(tmp_path / "own.csv", table)).warnings == ()
    table[:, 4:] *= factor
    warned(recordings.inspect(write(tmp_path / "own.csv", table), rotation="rad/s"), "gravity turns .* times as fast")


@pytest.mark.parametrize("first", [0, 1, 5000])
def test_a_line_number_is_no_time(tmp_path, first):
    table = turned(90)
    table[:, 0] = first + np.arange(len(table))
    path = write(tmp_path / "own.csv", table)
    assert "line number" in refusal(path)
    warned(recordings.inspect(path, time="ms"), "the clock is wrong")


@pytest.mark.parametrize("step", [0.5, 1, 500, 1000, 1e6, 1e9])
def test_a_log_of_once_or_twice_a_second_is_refused_in_any_unit(tmp_path, step):
    table = still(100)
    table[:, 0] = np.arange(len(table)) * step
    path = tmp_path / "own.csv"
    path.write_text(text(table, form="%.15g"))
    assert "too few" in refusal(path)


@pytest.mark.parametrize(("row", "value"), [(50, 1e6), (700, -1e308), (3, 5e25), (800, 2000)])
@pytest.mark.parametrize("column", [1, 3])
def test_an_acceleration_that_no_sensor_measures_is_refused(tmp_path, row, column, value):
    table = walk()
    table[row, column] = value
    assert re.search("no value of a sensor|no phone or watch measures", refusal(write(tmp_path / "own.csv", table)))
    (tmp_path / "apart.csv").write_text(
        beside(table, ["linear_acc_{}", "gravity_{}", "gyro_{}"]).replace("nan", str(value)), encoding="utf-8"
    )
    assert re.search("no value of a sensor|no phone or watch measures", refusal(tmp_path / "apart.csv"))


def test_a_hard_landing_is_read(tmp_path):
    table = walk()
    table[700, 3] = 156.0
    assert recordings.inspect(write(tmp_path / "own.csv", table)).recording.imu.max() == 156


def test_time_that_jumps_for_years_is_refused(tmp_path):
    table = walk()
    table[-1, 0] = 1e25
    assert "no recording lasts longer" in refusal(write(tmp_path / "own.csv", table))


# --- the rate of new values ---------------------------------------------------------------------------------


def held(table, times, columns):
    """The same lines, where a sensor has a new value only every so many."""
    table = table.copy()
    table[:, columns] = table[np.arange(len(table)) // times * times][:, columns]
    return table


@pytest.mark.parametrize(
    ("times", "columns"), [(5, slice(1, 7)), (5, slice(4, 7)), (4, slice(1, 4)), (25, slice(4, 7))]
)
def test_a_sensor_that_holds_its_value_has_the_rate_of_new_values(tmp_path, times, columns):
    assert "too few" in refusal(write(tmp_path / "own.csv", held(walk(), times, columns)))


def test_a_held_sensor_that_is_fast_enough_is_read_at_its_own_rate(tmp_path):
    table = turned()
    found = quietly(write(tmp_path / "own.csv", held(table, 3, slice(1, 7))))
    assert found["rate"].value.startswith("33.3")
    assert "repeat the last" in found.repairs[0]
    np.testing.assert_allclose(found.recording.imu, table[::3, 1:], rtol=1e-8)
    gyro = quietly(write(tmp_path / "own.csv", held(table, 2, slice(4, 7))))
    np.testing.assert_allclose(gyro.recording.rotation, table[: len(gyro.recording.time), 4:], atol=0.03)


@pytest.mark.parametrize("longest", [7, 11, 13])
def test_a_value_that_is_held_unevenly_counts_once(tmp_path, longest):
    table, rng = turned(), np.random.default_rng(0)
    lengths = rng.choice([longest - 3, longest - 2, longest], len(table))
    starts = np.cumsum(lengths) - lengths
    rows = np.arange(len(table))
    table[:, 4:] = table[starts[np.searchsorted(starts, rows, side="right") - 1], 4:]
    new = 100 / lengths.mean()
    message = refusal(write(tmp_path / "own.csv", table))
    assert float(re.search(r"([\d.]+) samples per second", message)[1]) == pytest.approx(new, rel=0.05)


def test_held_values_are_no_clipping(tmp_path):
    table = walk()
    table[:, 5] *= 8
    table = held(table, 2, slice(1, 7))
    found = recordings.inspect(write(tmp_path / "own.csv", table))
    assert [finding for finding in found.findings if finding.what == "clipping"] == []


@pytest.mark.parametrize("digits", [0, 1, 2])
def test_a_coarse_sensor_at_rest_is_not_taken_for_a_slow_one(tmp_path, digits):
    table = walk()
    quiet = np.random.default_rng(0).normal(0, 0.3 * 10.0**-digits, (500, 6))
    table[:500, 1:] = quiet
    table[:500, 3] += 10
    table[:, 1:4] = np.round(table[:, 1:4], digits)
    found = recordings.inspect(write(tmp_path / "own.csv", table), rotation="rad/s")
    assert len(found.recording.time) == len(table)


# --- every clock is looked at ---------------------------------------------------------------------------------


@pytest.mark.parametrize("apart", [31 * 86400.0, 600.0, 5.0])
@pytest.mark.parametrize("name", ["Gyroscope.csv", "Gravity.csv"])
def test_files_of_several_sessions_are_refused(tmp_path, apart, name):
    members = sensor_logger(walk(), "ios")
    shift = lambda match: str(int(match[0]) + int(apart * 1e9))
    members[name] = re.sub(rf"{EPOCH // 10**15}\d+", shift, members[name])
    assert re.search("two recordings.*no time in common", refusal(folder(tmp_path / "own", members)))


def test_sensors_that_begin_a_moment_apart_are_one_recording(tmp_path):
    table = walk()
    members = sensor_logger(table) | {"Gyroscope.csv": sensor(table[20:, 0], table[20:, 4:])}
    same_motion(quietly(folder(tmp_path / "own", members)), table[20:])


@pytest.mark.parametrize("late", [0.0, 0.4])
def test_sensors_that_count_from_their_own_start_are_joined_on_the_common_clock(tmp_path, late):
    """As MetaMotion writes them: g, degrees, three clocks of which one is a date that is hard to read."""
    table = turned()
    begin = int(late * 100)
    members = {}
    for name, rows, columns, factor, unit in (
        ("Accelerometer", table, slice(1, 4), 1 / STANDARD_GRAVITY, "g"),
        ("Gyroscope", table[begin:], slice(4, 7), 180 / np.pi, "deg/s"),
    ):
        header = ["epoch (ms)", "timestamp (-0400)", "elapsed (s)", *(f"{axis}-axis ({unit})" for axis in "xyz")]
        lines = [
            f"{1_547_222_000_000 + round(t * 1000)},2019-01-11T16.10.{second(t):02d}.{milli(t):03d},"
            + ",".join(f"{value:.9g}" for value in (t - rows[0, 0], *values))
            for t, values in zip(rows[:, 0], rows[:, columns] * factor, strict=True)
        ]
        members[f"bench_MetaWear_{name}_100.000Hz_1.4.4.csv"] = "\n".join([",".join(header), *lines])
    found = quietly(folder(tmp_path / "own", members))
    assert len(found.recording.time) >= len(table) - begin - 1
    same_motion(found, table[-len(found.recording.time) :], 1e-3)


def test_of_two_clocks_the_finer_counts(tmp_path):
    table = walk()
    whole = np.floor(table[:, 0]) + 1_700_000_000
    header = ["timestamp", *HEADER]
    path = write(tmp_path / "own.csv", np.column_stack([whole, table]), header)
    same_motion(quietly(path), table)
    # A spreadsheet has rounded the nanoseconds, and an elapsed time has lost its fraction.
    lines = ["time,seconds_elapsed," + ",".join(HEADER[1:])]
    lines += [f"1.71803E+18,{row[0]:.4f}," + ",".join(f"{v:.9g}" for v in row[1:]) for row in table]
    (tmp_path / "sheet.csv").write_text("\n".join(lines))
    same_motion(quietly(tmp_path / "sheet.csv"), table)
    lines = ["epoch (ms),elapsed (s)," + ",".join(HEADER[1:])]
    lines += [f"{1.7e12 + row[0] * 1e3:.0f},{row[0]:.0f}," + ",".join(f"{v:.9g}" for v in row[1:]) for row in table]
    (tmp_path / "elapsed.csv").write_text("\n".join(lines))
    found = quietly(tmp_path / "elapsed.csv")
    same_motion(found, table)
    assert found["time"].value == "ms"


def test_a_line_number_beside_a_clock_is_no_clock(tmp_path):
    table = walk()
    wide = np.column_stack([np.arange(len(table)), table])
    for header in (["time", "timestamp", *HEADER[1:]], ["t", "elapsed", *HEADER[1:]]):
        same_motion(quietly(write(tmp_path / "own.csv", wide, header)), table)


def test_a_stated_unit_of_time_chooses_its_clock(tmp_path):
    table = walk()
    header = ["time (ms)", "seconds_elapsed", *HEADER[1:]]
    path = write(tmp_path / "own.csv", np.column_stack([table[:, 0] * 1000, table]), header)
    for unit in ("ms", "s"):
        found = quietly(path, time=unit)
        same_motion(found, table)
        assert found["time"].value == unit


# --- usable, and once refused -----------------------------------------------------------------------------------


def bare(table, columns, header, form="%.9E", quote='"'):
    return text(np.column_stack([table[:, 0], table[:, columns]]), header, form=form, quote=quote)


@pytest.mark.parametrize(
    ("names", "force", "turn"),
    [
        (("Accelerometer", "Gyroscope"), "{} (m/s^2)", "{} (rad/s)"),
        (
            ("A_MetaWear_2024-01-11T16.10.08_Accelerometer_50.000Hz_1.4.4", "A_Gyroscope_50Hz"),
            "{}-axis (m/s^2)",
            "{}-axis (rad/s)",
        ),
        (("Acceleration", "Gyro data"), "{}_value", "{}_value"),
        (("TotalAcceleration (1)", "Gyroscope (1)"), "{}", "{}"),
        (("one", "two"), "{} (m/s²)", "axis {} [rad/s]"),
    ],
)
def test_axes_without_a_quantity_are_known_by_unit_or_file(tmp_path, names, force, turn):
    table = walk()
    members = {
        f"{name}.csv": bare(table, columns, ["Time (s)", *(form.format(axis) for axis in "XYZ")])
        for name, columns, form in zip(names, (slice(1, 4), slice(4, 7)), (force, turn), strict=True)
    }
    members["Magnetometer.csv"] = bare(table, slice(4, 7), ["Time (s)", "X (µT)", "Y (µT)", "Z (µT)"])
    members["notes.txt"] = "waist, left\n"
    for path in (folder(tmp_path / "own", members), zipped(tmp_path / "own.zip", members)):
        same_motion(quietly(path), table)


def test_the_simple_experiment_of_phyphox_on_an_iphone_is_phyphox(tmp_path):
    table = walk()
    members = {
        "Accelerometer.csv": bare(table, slice(1, 4), ["Time (s)", "X (m/s^2)", "Y (m/s^2)", "Z (m/s^2)"]),
        "Gyroscope.csv": bare(table, slice(4, 7), ["Time (s)", "X (rad/s)", "Y (rad/s)", "Z (rad/s)"]),
    }
    found = quietly(zipped(tmp_path / "own.zip", members))
    assert (found["format"].value, found["direction"].sure, found.warnings) == ("phyphox", 1.0, ())
    linear = np.column_stack([table[:, 0], parts(table)[1]])
    beside = {"Linear Accelerometer.csv": bare(linear, slice(1, 4), ["Time (s)", *(f"{a} (m/s^2)" for a in "XYZ")])}
    same_motion(quietly(zipped(tmp_path / "more.zip", members | beside)), table)
    one = tmp_path / "Accelerometer.csv"
    one.write_text(members["Accelerometer.csv"])
    assert "no column for rotation x" in refusal(one)


@pytest.mark.parametrize("blank", ["", "NaN", "null"])
@pytest.mark.parametrize("every", [2, 3])
def test_a_slower_sensor_may_be_blank_between_its_lines(tmp_path, blank, every):
    table = turned()
    sparse = table.copy()
    sparse[np.arange(len(table)) % every != 0, 4:] = np.nan
    (tmp_path / "own.csv").write_text(text(sparse).replace("nan", blank))
    found = quietly(tmp_path / "own.csv")
    np.testing.assert_allclose(found.recording.imu, table[: len(found.recording.time), 1:], atol=0.05)
    assert len(found.recording.time) > len(table) - every - 1
    assert "own clock" in found.repairs[0]


def test_two_sensors_joined_on_the_outside_are_read(tmp_path):
    table = turned()
    force, turn = table.copy(), table.copy()
    force[:, 4:], turn[:, 1:4] = np.nan, np.nan
    turn[:, 0] += 0.004
    both = np.vstack([force, turn])
    (tmp_path / "own.csv").write_text(text(both[np.argsort(both[:, 0])]).replace("nan", ""))
    found = quietly(tmp_path / "own.csv")
    np.testing.assert_allclose(found.recording.rotation, table[1:, 4:], atol=0.05)


def test_a_blank_sensor_is_still_too_slow_and_one_axis_is_still_missing(tmp_path):
    slow, axis = turned(), turned()
    slow[np.arange(len(slow)) % 10 != 0, 4:] = np.nan
    axis[::2, 5] = np.nan
    assert "10.0 samples per second are too few for rotation" in refusal(write(tmp_path / "slow.csv", slow))
    assert "rotation or time is missing" in refusal(write(tmp_path / "axis.csv", axis))


@pytest.mark.parametrize("separator", [",", ";"])
def test_androsensor_is_read(tmp_path, separator):
    table = turned()
    body = np.random.default_rng(0).normal(0, 0.2, (len(table), 3))
    columns = [table[:, 1:4], table[:, 1:4] - body, body, table[:, 4:], np.round(table[:, 0] * 1000)]
    words = ["ACCELEROMETER {} (m/s²)", "GRAVITY {} (m/s²)", "LINEAR ACCELERATION {} (m/s²)", "GYROSCOPE {} (rad/s)"]
    header = [*(word.format(axis) for word in words for axis in "XYZ"), "Time since start in ms "]
    rows = text(np.column_stack(columns), header, separator).splitlines()
    day = [f"2022-10-22 18:36:{24 + second(t):02d}:{milli(t):03d}" for t in table[:, 0]]
    stamped = [f"{row}{separator}{stamp}" for row, stamp in zip(rows[1:], day, strict=True)]
    content = "\n".join([f"sep={separator}", f"{rows[0]}{separator}YYYY-MO-DD HH-MI-SS_SSS", *stamped])
    (tmp_path / "own.csv").write_text(content, encoding="utf-8")
    found = quietly(tmp_path / "own.csv")
    same_motion(found, table)
    assert (found["format"].value, found.warnings) == ("AndroSensor", ())
    (tmp_path / "slow.csv").write_text("\n".join([*content.splitlines()[:2], *content.splitlines()[2::50]]))
    assert "2.0 samples per second" in refusal(tmp_path / "slow.csv")
    renamed = content.replace("Time since start", "Duration").replace("YYYY-MO-DD", "Date")
    (tmp_path / "untimed.csv").write_text(renamed, encoding="utf-8")
    message = refusal(tmp_path / "untimed.csv")
    assert "no column for time;" in message
    assert "gravity was removed" not in message


@pytest.mark.parametrize("share", [0.05, 0.15, 0.3])
def test_bursts_of_samples_are_read(tmp_path, share):
    table = turned()
    rng = np.random.default_rng(0)
    stamps = 1_657_534_605_000 + np.round(table[:, 0] * 1000)
    together = np.flatnonzero(rng.random(len(stamps) - 1) < share) + 1
    for row in together:
        stamps[row] = stamps[row - 1]
    table[:, 0] = stamps
    path = tmp_path / "own.csv"
    path.write_text(text(table, form="%.15g"))
    found = quietly(path)
    assert len(found.recording.time) == len(table) - len(together)
    assert float(found["rate"].value.split()[0]) == pytest.approx(100, abs=0.5), "merged lines were samples too"
    assert found.warnings == ()


@pytest.mark.parametrize("pause", [0.12, 0.14])
def test_a_single_late_burst_is_no_gap_and_a_gap_is_told_in_seconds_of_the_recording(tmp_path, pause):
    path, table = tmp_path / "own.csv", turned(8)
    late = (table[:, 0] > 4) & (table[:, 0] < 4 + pause)
    table[late, 0] = 4 + pause - 0.001 * np.arange(late.sum(), 0, -1)
    table[:, 0] += 1_657_534_605
    path.write_text(text(table, form="%.15g"))
    found = quietly(path)
    assert found.warnings == ()
    np.testing.assert_allclose(found.recording.time, turned(8)[:, 0], atol=0.03)
    lost = turned(30)
    lost[1000:, 0] += pause - 0.01  # nothing makes up for these
    warned(recordings.inspect(write(path, lost)), "missing after line 1001")
    table = turned(30)
    table[1000:, 0] += 2
    table[:, 0] += 1_657_534_605
    path.write_text(text(table, form="%.15g"))
    warned(recordings.inspect(path), r"missing after line 1001 \(time 9\.99 s\)")


def stamped(path, clock, table=None):
    table = turned() if table is None else table
    rows = text(table).splitlines()
    lines = [f"{clock(t)},{row.split(',', 1)[1]}" for t, row in zip(table[:, 0], rows[1:], strict=True)]
    path.write_text("\n".join([rows[0], *lines]))
    return path


CLOCKS = {
    "a colon before the milliseconds": lambda t: f"2024-03-27 07:13:{15 + second(t):02d}:{milli(t):03d}",
    "slashes": lambda t: f"2024/03/27 07:13:{15 + second(t):02d}.{milli(t):03d}",
    "day first": lambda t: f"27.03.2024 07:13:{15 + second(t):02d}.{milli(t):03d}",
    "month first, half a day": lambda t: (
        f"3/27/2024 {11 + (59 + second(t) // 20) // 60}:{(59 + second(t) // 20) % 60:02d}:"
        f"{second(t) % 20 + (40 if t < 20 else 0):02d}.{milli(t):03d} {'AM' if t < 20 else 'PM'}"
    ),
    "midnight": lambda t: (
        f"2024-02-{28 + (t >= 10)}T{'23:59' if t < 10 else '00:00'}:{second(t + 50) % 60:02d}.{milli(t):03d}Z"
    ),
    "a zone": lambda t: f"2024-03-27T07:13:{15 + second(t):02d}.{milli(t):03d}+01:00",
    "points and an underscore": lambda t: f"2019-01-11T16.10.{8 + second(t):02d}_{milli(t):03d}",
}


@pytest.mark.parametrize("name", CLOCKS)
def test_dates_are_read_as_people_and_loggers_write_them(tmp_path, name):
    path = stamped(tmp_path / "own.csv", CLOCKS[name])
    if name.startswith("month"):
        table = turned()
        keep = table[:, 0] < 20
        path = stamped(tmp_path / "own.csv", CLOCKS[name], table[keep])
    found = quietly(path)
    same_motion(found, turned()[: len(found.recording.time)], 1e-6)
    np.testing.assert_allclose(np.diff(found.recording.time), 0.01, atol=1e-6)


@pytest.mark.parametrize("foreign", ["battery low", "2024-03-27", "07.13", "2024-13-45 07:13:15.000", "-"])
def test_text_among_dates_is_refused_with_its_line(tmp_path, foreign):
    path = stamped(tmp_path / "own.csv", CLOCKS["slashes"])
    lines = path.read_text().splitlines()
    lines[501] = ",".join([foreign, *lines[501].split(",")[1:]])
    path.write_text("\n".join(lines))
    assert f"line 502, column 'time': '{foreign}' is no" in refusal(path)


@pytest.mark.parametrize("foreign", ["", "NaN", "null"])
def test_a_date_that_is_missing_is_only_missing(tmp_path, foreign):
    path = stamped(tmp_path / "own.csv", CLOCKS["slashes"])
    lines = path.read_text().splitlines()
    lines[501] = ",".join([foreign, *lines[501].split(",")[1:]])
    path.write_text("\n".join(lines))
    assert "line 502" in quietly(path).repairs[0]


@pytest.mark.parametrize("day", ["", "2024-03-27 "])
def test_milliseconds_without_their_zeros_are_refused(tmp_path, day):
    path = stamped(tmp_path / "own.csv", lambda t: f"{day}07:13:{15 + second(t):02d}.{milli(t)}")
    assert "lack zeros" in refusal(path)
    trimmed = lambda t: f"{day}07:13:{15 + second(t):02d}.{milli(t):03d}".rstrip("0").rstrip(".")
    same_motion(quietly(stamped(path, trimmed)), turned())


@pytest.mark.parametrize("name", ["own.json", "own.csv", "own.txt"])
@pytest.mark.parametrize("content", ['[{"sensor": "Accelerometer", "x": "1"}]', '{"data": []}', ' [\n {"a": 1}]'])
def test_json_is_called_json(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert "this is JSON. Export the recording as CSV." in refusal(tmp_path / name)
    assert "this is JSON" in refusal(zipped(tmp_path / "own.zip", {"a/recording.json": content}))


def as_json(members, convert=str, shuffled=True):
    """Sensor Logger's other export: one list of all rows, each with the name of its sensor."""
    rows = []
    for name, content in members.items():
        for row in csv.DictReader(content.splitlines()):
            rows.append({"sensor": name.removesuffix(".csv")} | {key: convert(value) for key, value in row.items()})
    if shuffled:  # the sensors' rows in between each other, as they were delivered
        rows.sort(key=lambda row: float(row.get("seconds_elapsed") or 0))
    return json.dumps(rows)


def number(value):
    try:
        return float(value)
    except ValueError:
        return value


@pytest.mark.parametrize(("platform", "standardised"), [("android", "false"), ("ios", "false"), ("ios", "true")])
@pytest.mark.parametrize("convert", [str, number])
def test_json_of_sensor_logger_is_read_as_its_csv_files(tmp_path, platform, standardised, convert):
    members = sensor_logger(walk(), platform, standardised)
    expected = quietly(zipped(tmp_path / "csv.zip", members))
    content = as_json(members, convert)
    (tmp_path / "own.json").write_text(content)
    (tmp_path / "own.txt").write_text("\n" + as_json(members, convert, shuffled=False))
    both = zipped(tmp_path / "both.zip", {**members, "own.json": content})
    for path in (
        tmp_path / "own.json",
        tmp_path / "own.txt",
        zipped(tmp_path / "own.zip", {"a/b.json": content}),
        both,
    ):
        found = quietly(path)
        np.testing.assert_allclose(found.recording.imu, expected.recording.imu, atol=1e-5)
        assert [found[what].value for what in ("format", "gravity", "direction")] == [
            expected[what].value for what in ("format", "gravity", "direction")
        ]


def test_two_recordings_as_json_are_two(tmp_path):
    content = as_json(sensor_logger(walk()))
    assert "two recordings" in refusal(zipped(tmp_path / "own.zip", {"a.json": content, "b.json": content}))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[:-5],
        lambda content: content.replace('"sensor"', '"name"', 1),
        lambda content: content.replace('"x"', '"x": {"y": 3}, "x2"', 1),
        lambda content: content.replace('"1', "1" * 5000 + ', "t": "1', 1),
        lambda content: content[:-1] + ", 3]",
        lambda content: content.replace("Gyroscope", "Barometer"),
        lambda content: "[{" + '"a":[{' * 50_000,
    ],
)
def test_json_that_is_damaged_or_another_apps_is_refused_as_json(tmp_path, spoil):
    (tmp_path / "own.json").write_text(spoil(as_json(sensor_logger(walk()))))
    assert "this is JSON. Export the recording as CSV." in refusal(tmp_path / "own.json")


def test_a_workbook_is_not_called_damaged(tmp_path):
    assert "damaged" not in refusal(zipped(tmp_path / "own.xlsx", {"xl/workbook.xml": "<x/>"}))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_zip_is_called_damaged_whatever_its_compression(tmp_path, compression):
    path = tmp_path / "own.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("own.csv", text(walk()))
    sound = path.read_bytes()
    for at in np.linspace(200, len(sound) - 300, 12).astype(int):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 0x55]) + sound[at + 1 :])
        assert re.search("damaged|cannot be read", refusal(path))


# --- bounds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    ["time," + "x" * 200_000, '"' + "a" * 140_000 + '",acc_x', "," * 5000 + "time", "time," + "(" * 130_000],
    ids=["long name", "long quoted name", "many columns", "brackets"],
)
def test_a_header_beyond_reason_is_refused(tmp_path, header):
    (tmp_path / "own.csv").write_text(header + "\n1,2\n")
    assert "too many for the header" in refusal(tmp_path / "own.csv")


@pytest.mark.parametrize("junk", ["9" * 5000, "\u202e" * 5000, "x\ty" * 3000])
def test_a_message_quotes_a_little_of_a_file(tmp_path, junk):
    cell = text(walk()).splitlines()
    cell[40] = junk.replace("\t", " ") + cell[40][cell[40].index(",") :]
    (tmp_path / "own.csv").write_text("\n".join(cell), encoding="utf-8")
    assert len(refusal(tmp_path / "own.csv")) < 600
    (tmp_path / "own.csv").write_text(text(walk(), [junk, *HEADER[1:]]), encoding="utf-8")
    assert len(refusal(tmp_path / "own.csv")) < 600


def test_a_name_of_many_brackets_takes_no_time(tmp_path):
    assert "no column for time" in refusal(write(tmp_path / "own.csv", walk(), ["(" * 10_000, *HEADER[1:]]))


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text exist on Linux")
def test_a_file_whose_name_is_not_text_is_read(tmp_path):
    path = os.fsencode(tmp_path) + b"/gr\xfcn.csv"
    with open(path, "w") as file:
        file.write(text(walk()))
    found = recordings.inspect(os.fsdecode(path))
    assert (found.recording.subject, found.recording.source) == (r"gr\udcfcn", r"gr\udcfcn.csv")
    str(found).encode()
    done = subprocess.run([sys.executable, "-m", "llasa_lib", "prepare", path], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
