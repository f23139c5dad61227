"""Captions: facts over time, 20 to 25 words, and every word of them provable."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import find_peaks

from llasa_lib import captions, signals
from llasa_lib.errors import LlasaError, ModelError, RecordingError

TIME = np.arange(120) / 20.0
ACTIVITIES = ("walking", "climbing stairs", "descending stairs", "sitting", "standing", "lying", "biking")


def synthetic(rng, motion=1.0, steps=1.8, up=None):
    """A window with gravity along ``up``, steps of ``motion`` m/s^2 along it, and noise."""
    up = rng.normal(size=3) if up is None else np.asarray(up, float)
    up = up / np.linalg.norm(up)
    bounce = motion * np.sin(2 * np.pi * steps * TIME + rng.uniform(0, 6))
    acceleration = np.outer(9.81 + bounce, up) + rng.normal(0, 0.05 + 0.1 * motion, (120, 3))
    return np.hstack([acceleration, rng.normal(0, 0.02 + 0.3 * motion, (120, 3))])


windows = st.builds(
    lambda seed, motion, steps: synthetic(np.random.default_rng(seed), motion, steps),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.05, 0.4, 2.0, 4.0]),
    st.floats(0.5, 5.0),
)


def rotate(window, seed):
    """Turn the phone by a random rotation; the world stays as it was."""
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    turn = turn if np.linalg.det(turn) > 0 else -turn
    return np.hstack([window[:, :3] @ turn.T, window[:, 3:] @ turn.T])


@settings(deadline=None, max_examples=80)
@given(windows, st.sampled_from((None, *ACTIVITIES, "a")), st.integers(0, 2**64))
def test_a_caption_has_twenty_to_twenty_five_words_and_a_narration_three_to_six_sentences(window, activity, seed):
    caption = captions.describe(captions.measure(window), activity, seed)
    assert 20 <= len(caption.text.split()) <= 25
    assert activity is None or activity.lower() in caption.text.lower()
    assert 3 <= len(re.findall(r"[.](?: |$)", caption.narration)) <= 6
    for text in (caption.text, caption.narration):
        assert text.endswith(".")
        assert "  " not in text
        assert text[0].isupper()
        assert not re.search(r"nan|None|[{}]", text)


@settings(deadline=None, max_examples=60)
@given(windows, st.integers(0, 2**64))
def test_every_claim_about_an_invented_window_is_true(window, seed):
    caption = captions.describe(captions.measure(window), None, seed)
    for text in (caption.text, caption.narration):
        claims = captions.check_text(text, window)
        assert len(claims) >= 3
        assert [claim for claim in claims if claim.holds is not True] == []


def test_every_claim_about_real_windows_is_true_and_no_number_is_left_unread(hapt_windows):
    imu, activities = signals.to_array(hapt_windows), hapt_windows["activity"]
    assert len(set(activities)) == 6
    for n, (window, facts) in enumerate(zip(imu, captions.measure_all(imu), strict=True)):
        caption = captions.describe(facts, activities[n], n)
        for text in (caption.text, caption.narration, captions.describe(facts, None, n).text):
            claims = captions.check_text(text, window)
            assert [claim for claim in claims if not claim.holds] == []
            without_span = re.sub(r"from \d to \d s", "", text, flags=re.IGNORECASE).replace("of 6 seconds", "")
            numbers = re.findall(r"-?\d+(?:\.\d+)?", without_span)
            read = [claim.text.split()[0] for claim in claims if isinstance(claim.claimed, float)]
            assert sorted(read) == sorted(numbers)


def test_a_false_number_is_caught(hapt_windows):
    imu = signals.to_array(hapt_windows)
    caught = total = 0
    for n, facts in enumerate(captions.measure_all(imu)):
        text = captions.describe(facts, None, n).text
        for claim in captions.check_text(text, imu[n]):
            if isinstance(claim.claimed, float) and claim.claimed:
                value = claim.text.split()[0]
                false = text[: claim.start] + text[claim.start :].replace(value, f"{claim.claimed * 1.5:.4f}", 1)
                total += 1
                caught += any(not c.holds for c in captions.check_text(false, imu[n]))
    assert total > 300
    assert caught == total


@pytest.mark.parametrize(
    ("true", "false"),
    [
        ("The x axis carries gravity, 9.8 m/s².", "The y axis carries gravity, 9.8 m/s²."),
        ("Axis x points up with 9.8 m/s².", "Axis x points down with 9.8 m/s²."),
        ("The cadence is 2.0 steps/s.", "The cadence is 1.6 steps/s."),
        ("Axis x varies most, 2.1 m/s².", "Axis z varies most, 2.1 m/s²."),
        ("It turns mostly about z.", "It turns mostly about x."),
        ("The motion keeps steady throughout.", "The motion fades towards the end."),
        ("Axis x swings at 2.0 Hz.", "Axis x swings at 1.2 Hz."),
        ("It stays still for 0 of 6 seconds.", "It stays still for 4 of 6 seconds."),
        ("Motion is moderate at 2.1 m/s².", "Motion is strong at 2.1 m/s²."),
        ("A loose rhythm runs at 2.0 steps/s.", "There is no regular step rhythm."),
    ],
)
def test_the_checker_tells_true_from_false(true, false):
    window = np.zeros((120, 6))
    window[:, 0] = 9.81 + 3 * np.sin(2 * np.pi * 2.0 * TIME)
    window[:, 5] = 0.5
    assert all(c.holds for c in captions.check_text(true, window))
    assert len(captions.check_text(true, window)) >= 1
    assert any(c.holds is False for c in captions.check_text(false, window))


def test_a_number_whose_meaning_is_unknown_is_not_called_true():
    window = synthetic(np.random.default_rng(0))
    (claim,) = captions.check_text("The person runs at 12.0 m/s².", window)
    assert claim.holds is None


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.floats(1.4, 3.0), st.integers(0, 2**32 - 1))
def test_rotating_the_phone_leaves_the_cadence_unchanged(seed, steps, turn):
    window = synthetic(np.random.default_rng(seed), motion=3.0, steps=steps)
    before, after = captions.measure(window), captions.measure(rotate(window, turn))
    for name in (
        "cadence",
        "regularity",
        "symmetry",
        "intensity",
        "impact",
        "impact_time",
        "rotation",
        "rotation_peak",
    ):
        assert after[name].value == pytest.approx(before[name].value, abs=1e-5)
    for name in ("level", "trend", "still_seconds", "impacts", "change_time", "change", "roughest_third", "transition"):
        assert after[name].value == before[name].value


def test_rotating_a_real_walk_leaves_the_cadence_unchanged(hapt_windows):
    imu = signals.to_array(hapt_windows.filter(lambda activity: activity == "walking", input_columns="activity"))
    turned = np.stack([rotate(window.astype(float), n) for n, window in enumerate(imu)])
    for before, after in zip(captions.measure_all(imu), captions.measure_all(turned), strict=True):
        assert after["cadence"].value == pytest.approx(before["cadence"].value, abs=1e-4)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(1.4, 3.0))
def test_a_known_step_rate_is_found_within_three_percent(seed, steps):
    facts = captions.measure(synthetic(np.random.default_rng(seed), motion=3.0, steps=steps))
    assert facts["cadence"].value == pytest.approx(steps, rel=0.03)


@settings(deadline=None, max_examples=40)
@given(windows, st.floats(0.7, 2.0))
def test_stretching_the_signal_stretches_what_has_its_unit_and_nothing_else(window, factor):
    before = captions.measure(window)
    after = captions.measure(np.hstack([window[:, :3] * factor, window[:, 3:]]))
    for name in ("gravity", "intensity", "impact", "strongest_axis", "spread_x"):
        assert after[name].value == pytest.approx(before[name].value * factor, abs=1e-5)
    for name in ("tilt", "rotation", "rotation_peak", "impact_time", "regularity", "frequency_x"):
        assert after[name].value == pytest.approx(before[name].value, abs=1e-4)


def test_facts_are_measured_over_time_and_never_across_the_axes():
    # The published mistake: mean, spread and spectrum of (x, y, z) inside one sample. At rest that gives 4.6.
    rest = np.zeros((120, 6))
    rest[:, 1] = -9.81
    facts = captions.measure(rest)
    assert np.std(rest[:, :3], axis=1).max() > 4.6
    assert facts["intensity"].value == 0
    assert facts["spread_y"].value == 0
    assert (facts["gravity"].value, facts["gravity"].axis, facts["posture"].value) == (
        -9.81,
        "y",
        "y axis down",
    )
    assert facts["cadence"].value is None
    shuffled = synthetic(np.random.default_rng(1), motion=3.0)
    mixed = shuffled[np.random.default_rng(2).permutation(120)]
    assert captions.measure(mixed)["spread_x"].value == pytest.approx(captions.measure(shuffled)["spread_x"].value)
    assert captions.measure(mixed)["regularity"].value < captions.measure(shuffled)["regularity"].value - 0.3


def test_played_backwards_rising_becomes_falling():
    window = synthetic(np.random.default_rng(3), motion=2.0, up=(1, 0, 0))
    window[60:, 0] += 3 * np.sin(2 * np.pi * 1.8 * TIME[60:])
    assert captions.measure(window)["trend"].value == "rising"
    assert captions.measure(window[::-1])["trend"].value == "falling"


def test_played_backwards_the_changes_inside_a_real_window_are_mirrored(hapt_windows):
    imu = signals.to_array(hapt_windows)
    other = {"starts moving": "calms down", "calms down": "starts moving", "first": "last", "last": "first"}
    found = {"change": 0, "roughest_third": 0}
    for now, then in zip(captions.measure_all(imu), captions.measure_all(imu[:, ::-1]), strict=True):
        for name in found:
            assert then[name].value == other.get(now[name].value, now[name].value)
            found[name] += now[name].value is not None
        if now["change_time"].value is not None:
            assert then["change_time"].value == 6 - now["change_time"].value
    assert min(found.values()) > 10


def test_a_start_is_found_at_its_second():
    for second in range(1, 6):
        window = synthetic(np.random.default_rng(second), motion=0.0)
        window[20 * second :] = synthetic(np.random.default_rng(second), motion=3.0)[20 * second :]
        facts = captions.measure(window)
        assert (facts["change_time"].value, facts["change"].value) == (second, "starts moving")


def test_sitting_up_is_a_change_of_posture_and_walking_is_none(hapt_windows):
    lying, upright = (synthetic(np.random.default_rng(9), motion=0.0, up=up) for up in ((0, 0, 1), (1, 0, 0)))
    facts = captions.measure(np.vstack([lying[:60], upright[60:]]))
    assert facts["turn"].value == pytest.approx(90, abs=2)
    assert facts["transition"].value == "posture change"
    walks = signals.to_array(hapt_windows.filter(lambda activity: activity == "walking", input_columns="activity"))
    assert {facts["transition"].value for facts in captions.measure_all(walks)} == {None}


def test_impacts_are_counted_as_in_one_window_alone(hapt_windows):
    imu = signals.to_array(hapt_windows).astype(float)
    for window, facts in zip(imu, captions.measure_all(imu), strict=True):
        size = np.linalg.norm(window[:, :3], axis=1)
        height = size.mean() + max(2 * size.std(), 3)
        assert facts["impacts"].value == len(find_peaks(size, height=height, distance=5)[0])


def test_impacts_are_counted_where_they_were_put_and_never_twice():
    window = synthetic(np.random.default_rng(10), motion=0.0, up=(0, 0, 1))
    assert captions.measure(window)["impacts"].value == 0
    window[[0, 20, 50, 53, 90, 119], 2] += 10  # the first and the last sample have a side that nobody saw
    assert captions.measure(window)["impacts"].value == 3


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(1.4, 2.3))  # faster, and two steps could be one
def test_a_limp_is_less_symmetric_than_an_even_walk(seed, steps):
    even = synthetic(np.random.default_rng(seed), motion=3.0, steps=steps, up=(0, 0, 1))
    limping = even.copy()
    limping[:, 2] += 1.5 * np.sin(np.pi * steps * TIME)  # every second step is another
    even, limping = (captions.measure(window)["symmetry"].value for window in (even, limping))
    assert limping is None or limping < 0.9 < even <= 1


def test_a_dead_axis_is_named_and_has_no_frequency():
    window = synthetic(np.random.default_rng(11), up=(1, 0.1, 0))
    window[:, 1] = 0
    window[:, 5] = 0.25
    facts = captions.measure(window)
    assert facts["sensor_problem"].value == "acceleration y is constant, rotation z is constant"
    assert facts["spread_y"].value == 0
    assert facts["frequency_y"].value is None
    assert facts["frequency_x"].value == pytest.approx(1.8, abs=0.05)


def test_a_sensor_that_hits_its_range_is_named_and_a_real_one_is_not(hapt_windows):
    window = synthetic(np.random.default_rng(12), motion=30.0, up=(0, 0, 1))
    window[:, 2] = np.clip(window[:, 2], -19.6, 19.6)
    assert captions.measure(window)["sensor_problem"].value == "acceleration z is clipped"
    real = captions.measure_all(signals.to_array(hapt_windows))
    assert {facts["sensor_problem"].value for facts in real} == {None}


def test_confidence_lies_between_zero_and_one_and_is_small_where_a_word_is_close_to_another(hapt_windows):
    for facts in captions.measure_all(signals.to_array(hapt_windows)):
        assert all(0 <= fact.confidence <= 1 for fact in facts.values())
        if facts["level"].confidence < 0.01:
            spread = facts["intensity"].value
            assert len({captions.level(spread * change) for change in (0.99, 1, 1.01)}) == 2
    upright, slanted = (
        captions.measure(synthetic(np.random.default_rng(13), 0, up=up)) for up in ([1, 0, 0], [1, 0, 0.98])
    )
    assert upright["posture"].confidence > 0.9
    assert slanted["posture"].confidence < 0.05
    assert upright["tilt"].confidence == 1


def test_the_impact_is_found_where_it_was_put():
    window = synthetic(np.random.default_rng(4), motion=0.0, up=(0, 0, 1))
    window[73, 2] = 25.0
    facts = captions.measure(window)
    assert facts["impact_time"].value == pytest.approx(73 / 20)
    assert facts["impact"].value == pytest.approx(np.linalg.norm(window[73, :3]), abs=1e-5)
    first, last = facts["impact"].interval
    assert first < 3.65 < last


def test_real_walks_have_a_cadence_and_real_rest_has_none(hapt_windows):
    found = {}
    for activity, facts in zip(
        hapt_windows["activity"], captions.measure_all(signals.to_array(hapt_windows)), strict=True
    ):
        found.setdefault(activity, []).append(facts["cadence"].value)
    for activity in ("walking", "climbing stairs", "descending stairs"):
        steps = [value for value in found[activity] if value is not None]
        assert len(steps) >= 0.8 * len(found[activity])
        assert 1.2 < np.median(steps) < 2.5
    for activity in ("sitting", "lying"):
        assert np.mean([value is None for value in found[activity]]) >= 0.95


def test_one_window_alone_and_among_others_gives_the_same_facts(hapt_windows):
    imu = signals.to_array(hapt_windows)[:40]
    together = captions.measure_all(imu)
    for n in (0, 17, 39):
        assert captions.measure(imu[n]).to_dict() == together[n].to_dict()


def test_facts_survive_json():
    facts = captions.measure(synthetic(np.random.default_rng(5), motion=0.0))
    again = captions.Facts.from_dict(json.loads(json.dumps(facts.to_dict())))
    assert dict(again) == dict(facts)
    assert captions.describe(again, "sitting", 3) == captions.describe(facts, "sitting", 3)
    assert "m/s²" in repr(facts)


def test_the_same_seed_gives_the_same_words_and_another_seed_others():
    facts = captions.measure(synthetic(np.random.default_rng(6)))
    texts = [captions.describe(facts, "walking", seed).text for seed in range(200)]
    assert texts == [captions.describe(facts, "walking", seed).text for seed in range(200)]
    assert len(set(texts)) > 150


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda w: w[:100], "120 samples x 6 channels"),
        (lambda w: w[:, :3], "6 channels"),
        (lambda w: np.hstack([w[:, :3] / 9.80665, w[:, 3:]]), "unit is g"),
        (lambda w: w * 0, "sensor is off"),
        (lambda w: w * [0, 0, 0, 1, 1, 1], "Constant acceleration: x, y, z"),
        (lambda w: np.hstack([w[:, :3], 90 + np.rad2deg(w[:, 3:])]), "deg2rad"),
        (lambda w: np.where(np.arange(120)[:, None] == 7, np.nan, w), "sample 7, channel 0"),
    ],
)
def test_a_window_that_cannot_be_measured_is_refused_in_one_sentence(spoil, words):
    window = spoil(synthetic(np.random.default_rng(7)))
    for attempt in (captions.measure, lambda w: captions.check_text("Motion is still.", w)):
        with pytest.raises(RecordingError, match=words) as error:
            attempt(window)
        assert "\n" not in str(error.value)


def test_an_activity_of_no_or_too_many_words_is_refused():
    facts = captions.measure(synthetic(np.random.default_rng(8)))
    for activity in ("", "one two three four five six seven eight nine"):
        with pytest.raises(ModelError, match="one to eight words"):
            captions.describe(facts, activity)
    assert issubclass(ModelError, LlasaError)


def test_two_thousand_windows_are_measured_and_described_in_seconds(hapt_windows):
    import time

    imu = np.resize(signals.to_array(hapt_windows), (2000, 120, 6))
    start = time.perf_counter()
    for n, facts in enumerate(captions.measure_all(imu)):
        captions.describe(facts, "walking", n)
    assert time.perf_counter() - start < 20
