"""Promises of ``llasa_lib.signals``: movement stays, what 20 Hz cannot show goes, nobody is in two splits."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, concatenate_datasets
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from llasa_lib import recordings, signals
from llasa_lib.errors import RecordingError, SplitError, WindowError
from llasa_lib.recordings import ACTIVITIES, Recording

WALK = Path(__file__).resolve().parent.parent / "data" / "samples" / "walk.csv"


def sine(frequency, rate=50.0, seconds=30.0, jitter=0.0, **fields):
    """A recording whose x axes follow a sine; acceleration y is a steady 9.81."""
    rng = np.random.default_rng(0)
    time = np.arange(int(seconds * rate)) / rate
    time = time + rng.uniform(-jitter, jitter, len(time)) / rate
    wave = np.sin(2 * np.pi * frequency * time)
    acceleration = np.column_stack([wave, np.full(len(time), 9.81), 0 * wave])
    return Recording(time, acceleration, np.column_stack([wave, wave, wave]), subject="sine", **fields)


def gain(piece):
    """Amplitude of the x axis away from the ends."""
    return np.sqrt(2) * piece.acceleration[60:-60, 0].std()


# --- resampling ----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(rate=st.sampled_from([50.0, 100.0, 200.0, 99.87, 43.0]), frequency=st.floats(0.3, 6.0))
def test_movement_survives_within_one_per_cent(rate, frequency):
    (piece,) = signals.resample(sine(frequency, rate))
    assert gain(piece) == pytest.approx(1, abs=0.01 if frequency > 1 else 0.03)  # few periods: a rougher gain
    assert np.diff(piece.time) == pytest.approx(0.05)


@pytest.mark.parametrize("jitter", [0.05, 0.3])
def test_a_step_survives_uneven_time_stamps(jitter):
    (piece,) = signals.resample(sine(3.0, jitter=jitter))
    assert gain(piece) == pytest.approx(1, abs=0.01)
    expected = np.sin(2 * np.pi * 3.0 * piece.time)
    assert np.abs(piece.acceleration[60:-60, 0] - expected[60:-60]).max() < 0.1


@pytest.mark.parametrize("frequency", [11.0, 14.0, 17.0, 19.5])
def test_vibration_above_half_the_rate_is_gone_not_folded(frequency):
    (piece,) = signals.resample(sine(frequency))
    assert 20 * np.log10(gain(piece)) < -40


def test_block_averages_would_have_folded_it():
    """The published recipe lets a 14 Hz vibration through as a slow wave; ours does not."""
    recording = sine(14.0, segments=[(0.0, 30.0, "walking")])
    published, _ = signals.limu_bert_windows([recording])
    ours = signals.to_array(signals.make_windows([recording]))
    assert published[0, 20:-20, 0].std() > 100 * ours[1, :, 0].std()


@pytest.mark.parametrize("rate", [50.0, 99.87, 20.0])
def test_a_steady_value_stays_exactly_what_it_was_up_to_both_ends(rate):
    (piece,) = signals.resample(sine(1.0, rate))
    np.testing.assert_allclose(piece.acceleration[:, 1], 9.81, atol=2e-3)


def test_a_recording_at_the_new_rate_is_left_alone():
    recording = sine(5.0, rate=20.0)
    (piece,) = signals.resample(recording)
    np.testing.assert_array_equal(piece.imu, recording.imu)


@settings(max_examples=20, deadline=None)
@given(first=st.integers(60, 700), missing=st.integers(6, 300))
def test_a_gap_splits_a_recording_and_is_never_bridged(first, missing):
    whole = sine(1.0, seconds=30)
    keep = np.r_[0:first, first + missing : len(whole.time)]
    holed = Recording(whole.time[keep], whole.acceleration[keep], whole.rotation[keep], subject="x")
    pieces = signals.resample(holed)
    assert len(pieces) == 2
    hole = (whole.time[first - 1] + 1e-6, whole.time[first + missing] - 1e-6)
    for piece in pieces:
        assert not ((piece.time > hole[0]) & (piece.time < hole[1])).any()


def test_no_window_spans_a_gap():
    whole = sine(1.0, seconds=20, segments=[(0.0, 20.0, "walking")])
    keep = np.r_[0:400, 425:1000]  # 8 s, half a second missing, 11.5 s
    holed = Recording(whole.time[keep], whole.acceleration[keep], whole.rotation[keep], "x", segments=whole.segments)
    windows = signals.make_windows([holed])
    assert windows["start"][:] == pytest.approx([0.0, 8.5])


def test_a_rate_must_be_positive():
    with pytest.raises(RecordingError, match="positive"):
        signals.resample(sine(1.0), rate=0)


# --- gravity -------------------------------------------------------------------------------------


def test_gravity_and_movement_add_up_to_what_was_measured(hapt_windows):
    acceleration = signals.to_array(hapt_windows)[:, :, :3]
    gravity, body = signals.split_gravity(acceleration, rate=20.0)
    np.testing.assert_allclose(gravity + body, acceleration, atol=1e-12)


def test_gravity_of_real_people_is_steady_and_has_the_right_size(hapt_windows):
    gravity, _ = signals.split_gravity(signals.to_array(hapt_windows)[:, :, :3], rate=20.0)
    size = np.linalg.norm(gravity, axis=2)
    assert np.median(size) == pytest.approx(9.81, rel=0.05)
    assert np.median(size.std(axis=1)) < 0.3


def test_steps_are_kept_out_of_gravity():
    steps = sine(2.0, seconds=20)
    gravity, _ = signals.split_gravity(steps.acceleration, rate=50.0)
    assert np.abs(gravity[100:-100, 0]).max() < 0.02
    assert np.abs(gravity[:, 0]).max() < 0.15  # at the ends, where one side is unknown
    np.testing.assert_allclose(gravity[:, 1], 9.81, atol=1e-6)


@given(angles=st.tuples(*[st.floats(-3, 3)] * 3))
@settings(max_examples=25, deadline=None)
def test_turning_the_phone_turns_gravity_with_it(angles):
    turn = Rotation.from_euler("xyz", angles)
    walk = sine(2.0, seconds=6, rate=20).imu[:, :3]
    before = signals.split_gravity(walk, 20.0)[0]
    after = signals.split_gravity(turn.apply(walk), 20.0)[0]
    np.testing.assert_allclose(after, turn.apply(before), atol=1e-9)


def test_too_short_a_piece_cannot_tell_gravity():
    with pytest.raises(RecordingError, match=r"at least 1\.6 s"):
        signals.split_gravity(np.ones((30, 3)), rate=20.0)


def test_the_direction_of_gravity_tells_lying_from_standing(hapt_windows):
    activity = np.array(hapt_windows["activity"][:])
    up = signals.gravity_direction(signals.to_array(hapt_windows)[:, :, :3])
    np.testing.assert_allclose(np.linalg.norm(up, axis=1), 1)
    assert (up[activity == "standing", 0] > 0.8).all()  # the phone's x axis points up
    assert (np.abs(up[activity == "lying", 0]) < 0.6).all()


def test_without_gravity_there_is_no_direction():
    with pytest.raises(RecordingError, match="no gravity"):
        signals.gravity_direction(np.zeros((120, 3)))


# --- windows -------------------------------------------------------------------------------------


def test_windows_have_the_shape_and_columns_every_stage_reads(hapt_windows):
    assert hapt_windows.column_names == ["imu", "activity", "subject", "placement", "source", "start"]
    array = signals.to_array(hapt_windows)
    assert array.shape == (len(hapt_windows), 120, 6)
    assert array.dtype == np.float32
    assert array.flags.writeable, "torch.from_numpy wants an array of its own"
    assert set(hapt_windows["activity"]) == set(ACTIVITIES[:6])
    assert set(hapt_windows["subject"]) == {"hapt-01", "hapt-02", "hapt-05"}


def test_a_window_lies_inside_one_labelled_segment(hapt_recordings, hapt_windows):
    for row in hapt_windows.remove_columns("imu"):
        homes = [
            segment
            for recording in hapt_recordings
            for segment in recording.segments
            if (recording.subject, segment.activity) == (row["subject"], row["activity"])
            and segment.start - 1e-6 <= row["start"]
            and row["start"] + 119 / 20 < segment.end + 1e-6
        ]
        assert homes, row


def test_windows_do_not_overlap(hapt_recordings):
    for recording in hapt_recordings:
        starts = np.sort(signals.make_windows([recording])["start"][:])
        assert (np.diff(starts) > 6 - 1e-6).all()


def test_stride_makes_windows_overlap(hapt_recordings):
    half = signals.make_windows(hapt_recordings[:1], stride=60)
    assert len(half) > 1.5 * len(signals.make_windows(hapt_recordings[:1]))


def test_unlabelled_windows_cover_everything_and_carry_no_label(hapt_recordings):
    windows = signals.make_windows(hapt_recordings[:1], labelled=False)
    assert len(windows) == int(hapt_recordings[0].duration // 6)
    assert set(windows["activity"]) == {""}


def test_window_values_are_the_filtered_recording(hapt_recordings):
    (piece,) = signals.resample(hapt_recordings[0])
    windows = signals.make_windows(hapt_recordings[:1])
    first = int(np.flatnonzero(np.isclose(piece.time, windows[3]["start"]))[0])
    np.testing.assert_allclose(signals.to_array(windows)[3], piece.imu[first : first + 120], rtol=1e-6)


def test_no_room_for_a_window_is_an_error():
    with pytest.raises(RecordingError, match="labelled=False"):
        signals.make_windows([sine(1.0, seconds=10)])
    with pytest.raises(RecordingError, match="6 s"):
        signals.make_windows([sine(1.0, seconds=5)], labelled=False)


def test_to_array_follows_the_order_of_the_data_set(hapt_windows, tmp_path):
    array = signals.to_array(hapt_windows)
    order = np.random.default_rng(0).permutation(len(hapt_windows))[:40]
    np.testing.assert_array_equal(signals.to_array(hapt_windows.select(order)), array[order])
    twice = concatenate_datasets([hapt_windows, hapt_windows.select([5])])
    np.testing.assert_array_equal(signals.to_array(twice)[-1], array[5])
    hapt_windows.save_to_disk(tmp_path / "windows")
    np.testing.assert_array_equal(signals.to_array(Dataset.load_from_disk(tmp_path / "windows")), array)
    hapt_windows.to_parquet(tmp_path / "windows.parquet")
    back = Dataset.from_parquet(str(tmp_path / "windows.parquet"), cache_dir=str(tmp_path))
    np.testing.assert_array_equal(signals.to_array(back), array)


# --- what is no window ---------------------------------------------------------------------------


def test_a_window_is_refused_for_what_its_mean_would_hide(hapt_windows):
    imu = signals.to_array(hapt_windows)[:3]
    np.testing.assert_array_equal(signals.check_windows(imu), imu)
    spike, off = imu.copy(), imu.copy()
    spike[1, 7, 4] = 61.0  # rad/s; no phone measures that
    off[2, :70, :3] = 0.0  # the sensor slept for more than half of the window
    off[2, 70:, :3] *= 2.4  # and the mean does not show it
    for bad, words in ((spike, "Window 1: mean rotation"), (off, "Window 2: median acceleration 0;")):
        with pytest.raises(WindowError, match=words):
            signals.check_windows(bad)
        assert signals.check_windows(bad, units=False).shape == imu.shape


# --- splits --------------------------------------------------------------------------------------


def test_nobody_is_in_two_splits_and_no_window_is_lost(hapt_windows):
    splits = signals.split_by_subject(hapt_windows, test=["hapt-02"], validation=["hapt-05"])
    assert {name: set(split["subject"]) for name, split in splits.items()} == {
        "train": {"hapt-01"},
        "validation": {"hapt-05"},
        "test": {"hapt-02"},
    }
    assert sum(map(len, splits.values())) == len(hapt_windows)


@pytest.mark.parametrize(
    ("test", "validation", "sentence"),
    [
        (["hapt-02"], ["hapt-02"], "validation and in test"),
        (["hapt-77"], [], "hapt-77"),
        (["hapt-01", "hapt-02"], ["hapt-05"], "Nobody is left"),
    ],
)
def test_impossible_splits_are_refused(hapt_windows, test, validation, sentence):
    with pytest.raises(SplitError, match=sentence):
        signals.split_by_subject(hapt_windows, test=test, validation=validation)


def test_a_random_split_of_windows_is_caught(hapt_windows):
    with pytest.raises(SplitError, match="share the subject"):
        signals.check_disjoint(hapt_windows.train_test_split(0.3, seed=0))


def test_a_window_smuggled_in_under_another_name_is_caught(hapt_windows):
    splits = signals.split_by_subject(hapt_windows, test=["hapt-02"])
    stolen = splits["test"].select([0])
    disguised = stolen.remove_columns("subject").add_column("subject", ["hapt-01"])
    disguised = disguised.select_columns(splits["train"].column_names).cast(splits["train"].features)
    splits["train"] = concatenate_datasets([splits["train"], disguised])
    with pytest.raises(SplitError, match="1 identical windows"):
        signals.check_disjoint(splits)


# --- features ------------------------------------------------------------------------------------


def test_a_summary_has_132_named_numbers(hapt_windows):
    table = signals.summarise(signals.to_array(hapt_windows))
    assert table.shape == (len(hapt_windows), 132)
    assert len(set(signals.SUMMARY_NAMES)) == 132
    assert np.isfinite(table).all()


def test_each_number_is_what_its_name_says(hapt_windows):
    imu = signals.to_array(hapt_windows)[:3].astype(np.float64)
    table = signals.summarise(imu)
    name = signals.SUMMARY_NAMES.index
    np.testing.assert_allclose(table[:, name("acceleration x mean")], imu[:, :, 0].mean(1), rtol=1e-5)
    np.testing.assert_allclose(table[:, name("rotation z spread")], imu[:, :, 5].std(1), rtol=1e-5)
    differences = np.diff(imu[:, :, 1], axis=1).std(1)
    np.testing.assert_allclose(table[:, name("acceleration y spread of differences")], differences, rtol=1e-5)


def test_a_two_hertz_wave_shows_in_line_twelve_of_its_own_channel():
    imu = np.zeros((1, 120, 6))
    imu[0, :, 4] = np.sin(2 * np.pi * 2.0 * np.arange(120) / 20)
    table = dict(zip(signals.SUMMARY_NAMES, signals.summarise(imu)[0], strict=True))
    assert table["rotation y line 12"] == pytest.approx(np.sqrt(60), rel=1e-3)  # half of 120 samples
    others = [value for key, value in table.items() if "line" in key and key != "rotation y line 12"]
    assert max(others) < 1e-3


@given(st.permutations(range(6)))
@settings(max_examples=20, deadline=None)
def test_statistics_run_over_time_never_across_channels(order):
    """The mistake of published code: statistics of a (120, 3) array over the wrong axis mix the channels."""
    imu = np.random.default_rng(1).normal(size=(2, 120, 6)) * [1, 2, 3, 4, 5, 6]
    blocks = signals.summarise(imu).reshape(2, 6, 22)
    swapped = signals.summarise(imu[:, :, order]).reshape(2, 6, 22)
    np.testing.assert_allclose(swapped, blocks[:, order], rtol=1e-5)


def test_wrong_shapes_are_refused():
    with pytest.raises(RecordingError, match=r"\(N, 120, 6\)"):
        signals.summarise(np.zeros((120, 6)))


def test_a_linear_model_on_the_summary_knows_strangers():
    """The figure to beat: macro-F1 above 0.94 on nine unseen people."""
    from sklearn.metrics import f1_score

    windows = signals.make_windows(recordings.load("hapt"))
    test = [f"hapt-{number:02d}" for number in (2, 4, 9, 10, 12, 13, 18, 20, 24)]
    splits = signals.split_by_subject(windows, test=test)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(signals.summarise(signals.to_array(splits["train"])), splits["train"]["activity"][:])
    answers = model.predict(signals.summarise(signals.to_array(splits["test"])))
    assert len(answers) == 603
    assert f1_score(splits["test"]["activity"][:], answers, average="macro") > 0.94
    # The generated sample is a walk to this model, as it should be to the reader.
    walk = recordings.read(WALK)
    own = signals.to_array(signals.make_windows([walk], labelled=False))
    assert set(model.predict(signals.summarise(own))) == {"walking"}


# --- parity with LIMU-BERT -----------------------------------------------------------------------


def test_the_published_array_is_rebuilt_byte_for_byte():
    windows, activities = signals.limu_bert_windows(recordings.load("hapt"))
    assert windows.shape == (2088, 120, 6)
    file = io.BytesIO()
    np.save(file, windows)
    digest = hashlib.sha256(file.getvalue()).hexdigest()
    assert digest == "9a306aa99d30dde9c7281868671fa559fd1760b631093e4204fa6abfa57dcfaa"
    counts = {name: activities.count(name) for name in ACTIVITIES[:6]}
    assert list(counts.values()) == [355, 318, 254, 362, 398, 401]


def test_the_published_recipe_refuses_another_rate():
    with pytest.raises(RecordingError, match="50 Hz"):
        signals.limu_bert_windows([sine(1.0, rate=100.0)])
