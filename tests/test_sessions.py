"""One frame for all phones: what a window means must not depend on how the device hangs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llasa_lib import signals
from llasa_lib.errors import WindowError
from llasa_lib.signals import sessions


@pytest.fixture(scope="module")
def person(hapt_windows):
    """One person's windows in the order of time, and what they do."""
    subject = hapt_windows["subject"][0]
    rows = [n for n, one in enumerate(hapt_windows["subject"]) if one == subject]
    chosen = hapt_windows.select(rows)
    return signals.to_array(chosen).astype(float), np.array(chosen["activity"])


def turn(seed):
    return signals.augmentation.random_turns(1, np.random.default_rng(seed))[0]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_frame_is_the_same_for_any_orientation_of_the_device(person, seed):
    imu, _ = person
    turned = signals.rotate(imu, turn(seed))
    assert np.allclose(signals.to_frame(turned), signals.to_frame(imu), atol=1e-6)
    one, other = (signals.calibrate(windows, ["me"] * len(imu)) for windows in (imu, turned))
    assert np.allclose(one.frame, other.frame, atol=1e-4)
    assert np.allclose(one.statistics, other.statistics, atol=1e-3)
    assert np.allclose(one.mean, other.mean, atol=1e-3)


def test_the_frame_is_a_rotation_but_for_slow_turns(person):
    imu, _ = person
    frame = signals.to_frame(imu)
    assert np.allclose(np.linalg.norm(frame[..., :3], axis=2), np.linalg.norm(imu[..., :3], axis=2))
    mean = signals.split_gravity(frame[..., :3], signals.RATE)[0].mean(axis=1)
    assert np.allclose(mean[:, :2], 0, atol=1e-6), "gravity has no horizontal part"
    assert (mean[:, 2] > 8).all()


def test_a_staircase_that_winds_feels_like_one_that_does_not(person):
    imu, activity = person
    walks = imu[activity == "walking"]
    frame = signals.to_frame(walks)
    up = signals.gravity_direction(walks[..., :3])
    steps = np.arange(walks.shape[1]) / signals.RATE
    # A slow bend: half a turn in twenty seconds, to and fro, about the vertical.
    bend = 0.16 * np.sin(2 * np.pi * 0.05 * steps)
    wound = walks.copy()
    wound[..., 3:] += bend[None, :, None] * up[:, None]
    assert np.abs(signals.to_frame(wound) - frame).max() < 0.03


def test_a_mirrored_person_is_the_mirror_image_in_the_frame(person):
    imu, _ = person
    plain, mirrored = (signals.calibrate(w, ["me"] * len(imu)).frame for w in (imu, signals.mirror(imu, 1)))
    assert np.allclose(mirrored, plain * [1, -1, 1, -1, 1, -1], atol=1e-4)


def test_a_posture_is_seen_against_the_gravity_of_walking(person):
    imu, activity = person
    together, alone = signals.calibrate(imu, ["me"] * len(imu)), signals.calibrate(imu)
    tilt = lambda windows: np.degrees(np.arccos((windows.frame[..., 2].mean(1) / 9.8).clip(-1, 1)))
    assert np.median(tilt(together)[activity == "standing"]) < 20
    assert np.median(tilt(together)[activity == "lying"]) > 60
    assert np.median(tilt(alone)[activity == "lying"]) < 10, "alone, a still window is upright whatever it was"
    assert together.upright.all()
    assert not alone.upright.any()


def test_a_window_alone_is_read_as_within_any_other_company(person):
    imu, _ = person
    every = signals.calibrate(imu)
    assert np.allclose(signals.calibrate(imu[3:4]).frame, every.frame[3:4])
    assert np.allclose(signals.to_frame(imu[3:4]), every.frame[3:4], atol=1e-5)
    assert (every.count == 0).all()
    assert np.isnan(every.tipping).all()


def test_a_phone_that_changes_its_place_is_two_recordings(person):
    imu, activity = person
    walks = imu[activity == "walking"]
    walks = np.concatenate([walks] * (1 + 2 * sessions.FEWEST // len(walks)))[: 2 * sessions.FEWEST]
    still = imu[activity == "standing"][:1]
    upside = np.diag([-1.0, 1.0, -1.0])
    moved = np.concatenate([still, walks, signals.rotate(walks, upside), signals.rotate(still, upside)])
    found = signals.calibrate(moved, ["me"] * len(moved))
    assert len(np.unique(found.count)) == 1
    assert found.count[0] == len(walks)
    upright = found.frame[[0, -1], :, 2].mean(axis=1) / 9.8
    assert (upright > 0.9).all(), "standing is upright before and after"


def test_rows_are_chosen_and_joined_like_those_of_an_array(person):
    imu, _ = person
    found = signals.calibrate(imu, ["me"] * len(imu), "waist")
    assert len(found[2]) == 1
    assert np.array_equal(found[[0, 2]].frame, found.frame[[0, 2]])
    assert np.array_equal(found[found.moving].statistics, found.statistics[found.moving])
    joined = signals.Calibrated.joined([found[:2], found[2:]])
    for name in ("imu", "frame", "mean", "placement"):
        assert np.array_equal(getattr(joined, name), getattr(found, name))


def test_a_data_set_brings_its_people(hapt_windows):
    by_set, by_label = (
        signals.calibrate(hapt_windows),
        signals.calibrate(signals.to_array(hapt_windows), hapt_windows["subject"]),
    )
    assert np.array_equal(by_set.frame, by_label.frame)
    with pytest.raises(WindowError, match="1 session labels"):
        signals.calibrate(signals.to_array(hapt_windows), ["me"])


def test_no_window_and_a_sensor_that_is_unplugged_are_read_as_well():
    assert len(signals.calibrate(np.zeros((0, 120, 6)))) == 0
    assert np.isfinite(signals.calibrate(np.zeros((2, 120, 6)), ["a", "a"]).statistics).all()


def test_whoever_sits_leans_back_as_seen_along_the_way_of_walking(hapt_windows):
    """The front is found: nobody's phone says so, and in HAPT everybody's sitting leans the same way."""
    subjects, activity = np.array(hapt_windows["subject"]), np.array(hapt_windows["activity"])
    forward = signals.calibrate(hapt_windows).frame[..., 0].mean(axis=1)
    for subject in np.unique(subjects):
        mean = {name: forward[(subjects == subject) & (activity == name)].mean() for name in ("sitting", "standing")}
        assert mean["sitting"] > mean["standing"] + 1, subject
