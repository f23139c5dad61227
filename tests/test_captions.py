"""Captions: facts over time, 20 to 25 words, and every word of them provable."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import find_peaks

from llasa_lib import captions, questions, signals, verification
from llasa_lib.captions.grammar import PHRASES
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


def pattern(template):
    """A template as a regular expression; a name in braces stands for a number or a word."""
    return re.sub(r"\\{\w+\\}", r"(?:{\\w+}|[\\w.-]+)", re.escape(template))


def unread(text, activity, facts):
    """What remains of a caption if its opening, the true phrases and the words between them are taken away."""
    openings = captions.grammar.OPENINGS if activity else captions.grammar.BLIND_OPENINGS
    for opening in sorted(openings, key=len, reverse=True):
        opening = opening.format(a=activity, A=activity and activity[0].upper() + activity[1:])
        if opening and text.startswith(opening):
            text = text.removeprefix(opening)
            break
    true = [
        phrase for form in ("clause", "adjunct") for some in captions.phrases(facts, form).values() for phrase in some
    ]
    for phrase in sorted(true, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(phrase)}(?![\w/²])", "", text, flags=re.IGNORECASE)
    return re.sub(r"[.,;: ]|\b(?:and|while|meanwhile|at the same time|in addition)\b", "", text, flags=re.IGNORECASE)


def test_a_caption_consists_of_true_phrases_and_nothing_else(hapt_windows):
    imu, activities = signals.to_array(hapt_windows), hapt_windows["activity"]
    for n, facts in enumerate(captions.measure_all(imu)):
        for activity in (activities[n], None):
            assert unread(captions.describe(facts, activity, n).text, activity, facts) == ""


def test_no_phrase_can_be_taken_for_a_statement_about_another_fact():
    rows = {row: [phrase for form in forms for phrase in form] for row, forms in PHRASES.items()}
    assert re.fullmatch(pattern("the tilt is {lean}"), "the tilt is {x}")
    for row, some in rows.items():
        for other, others in rows.items():
            for phrase in others if other != row else ():
                assert not any(re.fullmatch(pattern(one), phrase) for one in some), (row, phrase)


def test_no_two_windows_have_the_same_caption_or_narration(hapt_windows):
    for texts in zip(*((c.text, c.narration) for c in written(hapt_windows)), strict=True):
        assert len(set(texts)) == len(texts)


def test_captions_vary_more_than_a_form_letter(hapt_windows):
    found = captions.variety([caption.text for caption in written(hapt_windows)])
    assert found.distinct_2 > 0.1
    assert found.self_bleu_4 < 0.95


def written(windows):
    facts = captions.measure_all(signals.to_array(windows))
    return [
        captions.describe(one, activity, n)
        for n, (one, activity) in enumerate(zip(facts, windows["activity"], strict=True))
    ]


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
        (lambda w: w[:100], "120 steps, 6 channels"),
        (lambda w: w[:, :3], "6 channels"),
        (lambda w: np.hstack([w[:, :3] / 9.80665, w[:, 3:]]), "in g, multiply by 9.80665"),
        (lambda w: w * 0, "gravity was removed"),
        (lambda w: w * [0, 0, 0, 1, 1, 1], "Constant acceleration: x, y, z"),
        (lambda w: np.hstack([w[:, :3], 90 + np.rad2deg(w[:, 3:])]), "multiply by pi / 180"),
        (lambda w: np.where(np.arange(120)[:, None] == 7, np.nan, w), "step 7, channel 0"),
    ],
)
def test_a_window_that_cannot_be_measured_is_refused_in_one_sentence(spoil, words):
    window = spoil(synthetic(np.random.default_rng(7)))
    for attempt in (captions.measure, lambda w: verification.verify("Motion is still.", w)):
        with pytest.raises(RecordingError, match=words) as error:
            attempt(window)
        assert "\n" not in str(error.value)


def test_an_activity_of_no_or_too_many_words_is_refused():
    facts = captions.measure(synthetic(np.random.default_rng(8)))
    for activity in ("", "one two three four five six seven eight nine"):
        with pytest.raises(ModelError, match="one to eight words"):
            captions.describe(facts, activity)
    assert issubclass(ModelError, LlasaError)


def test_one_process_and_two_write_the_same_corpus(hapt_windows):
    few = hapt_windows.select(range(61))
    one, two = (questions.make_corpus(few, processes) for processes in (1, 2))
    assert one.to_dict() == two.to_dict()
    assert one.features["imu"] == few.features["imu"]


@pytest.mark.parametrize(
    ("value", "clause"),
    [
        ("acceleration y is constant", "acceleration y is constant"),
        ("acceleration x is constant, rotation z is constant", "acceleration x and rotation z are constant"),
        ("rotation x is constant, rotation y is constant, rotation z is constant", "rotation is constant"),
        ("acceleration x is clipped, rotation z is constant", "acceleration x is clipped, and rotation z is constant"),
    ],
)
def test_a_sensor_problem_comes_first_in_one_clause(value, clause):
    facts = captions.measure(synthetic(np.random.default_rng(14)))
    facts = captions.Facts([*(facts[name] for name in facts), captions.Fact("sensor_problem", value)])
    for seed in range(20):
        caption = captions.describe(facts, "walking", seed)
        assert caption.narration.lower().startswith(clause)
        assert re.match(rf"(?:[\w ]*walking(?:[.:,]| while) )?{clause}\.", caption.text, re.IGNORECASE)


@settings(deadline=None, max_examples=60)
@given(
    windows,
    st.sets(st.integers(0, 5), min_size=1),
    st.integers(0, 2**32),
    st.sampled_from((None, "walking", "a b c d e f g h")),
)
def test_no_text_says_how_a_dead_axis_moves(window, dead, seed, activity):
    window = window.copy()
    window[:, list(dead)] = np.where(np.abs(window[:, list(dead)].mean(axis=0)) > 5, window[0, list(dead)], 0.5)
    try:
        facts = captions.measure(window)
    except RecordingError:
        return  # nothing but a dead axis carried gravity
    caption = captions.describe(facts, activity, seed)
    assert 20 <= len(caption.text.split()) <= 25
    for text in (caption.text, caption.narration):
        assert "constant" in text
        for channel in dead:
            moves = "varies|swing|variation" if channel < 3 else "turning is about|turns mostly about|rotation is about"
            assert not re.search(rf"(?:axis {'xyzxyz'[channel]}|the {'xyzxyz'[channel]} axis) (?:{moves})", text)
            assert not re.search(rf"(?:{moves})\w* (?:the |is |on |axis |about |largest )*{'xyzxyz'[channel]}\b", text)


def test_one_degree_and_one_impact_are_singular():
    window = np.zeros((120, 6))
    window[:, 0] = 9.81
    window[:, 1] = 9.81 * np.tan(np.deg2rad(1))
    facts = captions.measure(window)
    assert "the tilt is 1 degree" in captions.phrases(facts)["tilt"]
    one = captions.Facts([*facts.values(), captions.Fact("impacts", 1), captions.Fact("level", "light")])
    assert "there is 1 impact" in captions.phrases(one)["impacts"]


def self_bleu(tokens):
    """Self-BLEU-4 word for word after its definition, each text against all others; 0 without any match."""
    scores = []
    grams = lambda text, n: Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))
    for i, text in enumerate(tokens):
        others = tokens[:i] + tokens[i + 1 :]
        log = 0.0
        for n in range(1, 5):
            mine, theirs = grams(text, n), [grams(other, n) for other in others]
            matches = sum(min(count, max(other[gram] for other in theirs)) for gram, count in mine.items())
            log += np.log(max(matches, 0.1) / sum(mine.values())) / 4
        closest = min((abs(len(other) - len(text)), len(other)) for other in others)[1]
        shared = set(text) & set().union(*others)
        scores.append(np.exp(log + min(0, 1 - closest / len(text))) if shared else 0.0)
    return np.mean(scores)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.sampled_from("abc"), min_size=4, max_size=8), min_size=2, max_size=6))
def test_variety_is_what_its_definition_says(tokens):
    found = captions.variety([" ".join(text) for text in tokens])
    assert found.self_bleu_4 == pytest.approx(self_bleu(tokens))
    for n, value in ((1, found.distinct_1), (2, found.distinct_2)):
        pairs = [tuple(text[i : i + n]) for text in tokens for i in range(len(text) - n + 1)]
        assert value == pytest.approx(len(set(pairs)) / len(pairs))


def test_variety_of_copies_is_none_and_of_strangers_is_full():
    copies = captions.variety(["The sensor turns at 1.5 rad/s."] * 3)
    assert copies.self_bleu_4 == pytest.approx(1)
    strangers = captions.variety(["one two three four", "five six seven eight"])
    assert (strangers.distinct_1, strangers.distinct_2, strangers.texts) == (1, 1, 2)
    assert strangers.self_bleu_4 < 0.1
    for texts in ([], ["one two three four"], ["one two three four", "too short"]):
        with pytest.raises(ModelError, match="at least two texts"):
            captions.variety(texts)


# --- notes for a prompt -------------------------------------------------------------------------------------------


def test_notes_hold_the_numbers_that_the_answers_to_numeric_questions_print(hapt_windows):
    for window in signals.to_array(hapt_windows)[::9]:
        facts = captions.measure(window)
        line = captions.measurement_line(facts)
        assert "\n" not in line
        for name in ("intensity", "impact", "impact_time", "rotation", "rotation_peak", "spread_x", "cadence"):
            value = facts[name].value
            assert (captions.say(value) if value is not None else "cadence none") in line


def test_notes_name_no_activity(hapt_windows):
    for window in signals.to_array(hapt_windows)[::9]:
        words = set(captions.measurement_line(captions.measure(window)).replace(";", "").split())
        assert not words & {"walking", "climbing", "descending", "stairs", "sitting", "standing", "lying", "jogging"}
