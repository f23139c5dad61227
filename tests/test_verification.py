"""The verifier: what English texts claim about a window, recomputed from its samples, whoever wrote them."""

import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llasa_lib import captions, questions, signals, verification

TIME = np.arange(120) / 20.0


def walk():
    """Two steps a second; gravity on x, pointing up; one blow of 25 m/s² on y at 4.0 s; turning about z."""
    window = np.zeros((120, 6))
    window[:, 0] = 9.81 + 3 * np.sin(2 * np.pi * 2.0 * TIME)
    window[:, 1] = 0.5 * np.sin(2 * np.pi * 1.0 * TIME)
    window[:, 2] = -2.0
    window[80, 1] = 25.0
    window[:, 2] += 0.2 * np.cos(2 * np.pi * 3.0 * TIME)
    window[:, 5] = 1.2 * np.sin(2 * np.pi * 1.0 * TIME)
    window[:, 3] = 0.3
    return window


def rest():
    """A phone at rest with the y axis down, 12 degrees from vertical, a little noise."""
    noise = np.random.default_rng(0).normal(0, 0.02, (120, 6))
    lean = np.radians(12)
    return noise + np.array([9.8 * np.sin(lean), -9.8 * np.cos(lean), 0, 0.01, 0, 0])


def start():
    """Still with z up for three seconds, then strong motion at 1.8 steps a second."""
    window = np.random.default_rng(1).normal(0, 0.02, (120, 6))
    window[:, 2] += 9.81
    window[60:, 2] += 4.5 * np.sin(2 * np.pi * 1.8 * TIME[60:])
    window[60:, 4] += 2.0 * np.sin(2 * np.pi * 0.9 * TIME[60:])
    return window


def fall_over():
    """At rest with x up for three seconds, then at rest with z up; acceleration y is dead."""
    window = np.random.default_rng(2).normal(0, 0.02, (120, 6))
    window[:60, 0] += 9.8
    window[60:, 2] += 9.8
    window[:, 1] = 0.0
    return window


WINDOWS = {"walk": walk(), "rest": rest(), "start": start(), "fall": fall_over()}


def verdict(text, window):
    """One word for a text: false if anything in it is, else true, open, or nothing."""
    found = {claim.holds for claim in verification.verify(text, window)}
    return "false" if False in found else "true" if True in found else "open" if None in found else "nothing"


SENTENCES = [
    tuple(part.strip() for part in line.split("|", 2))
    for line in (Path(__file__).parent / "golden" / "sentences.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]


@pytest.mark.parametrize(("window", "expected", "text"), SENTENCES)
def test_free_english_gets_the_right_verdict(window, expected, text):
    assert verdict(text, WINDOWS[window]) == expected, verification.verify(text, WINDOWS[window])


# --------------------------------------------------------------------------------------------- real windows, our texts


@pytest.fixture(scope="module")
def real(hapt_windows):
    """(window, facts, activity) of every real window."""
    imu = signals.to_array(hapt_windows)
    return list(zip(imu, captions.measure_all(imu), hapt_windows["activity"], strict=True))


def test_every_checkable_claim_of_our_own_text_is_supported(real):
    claims = 0
    for n, (window, facts, activity) in enumerate(real[::2]):
        caption = captions.describe(facts, activity, n)
        texts = [caption.text, caption.narration, captions.describe(facts, None, n).text]
        texts += [pair.answer for pair in questions.make(facts, activity, n)]
        for text in texts:
            found = [claim for claim in verification.verify(text, window) if claim.holds is not None]
            assert [claim for claim in found if not claim.holds] == [], text
            claims += len(found)
    assert claims > 10 * len(real)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from((0.0, 0.05, 0.4, 2.0, 4.0)), st.floats(0.5, 5.0))
def test_every_claim_about_an_invented_window_is_supported(seed, motion, steps):
    rng = np.random.default_rng(seed)
    up = rng.normal(size=3)
    bounce = 9.81 + motion * np.sin(2 * np.pi * steps * TIME)
    window = rng.normal(0, 0.05 + 0.2 * motion, (120, 6))
    window[:, :3] += np.outer(bounce, up / np.linalg.norm(up))
    caption = captions.describe(captions.measure(window), None, seed)
    for text in (caption.text, caption.narration):
        claims = verification.verify(text, window)
        assert len(claims) >= 3
        assert [claim for claim in claims if claim.holds is not True] == []


def test_no_phrase_of_our_grammar_is_left_unread(real):
    for window, facts, _ in real[::8]:
        for form in ("clause", "adjunct"):
            for phrase in (phrase for some in captions.phrases(facts, form).values() for phrase in some):
                assert verdict(f"{phrase}.", window) == "true", phrase


def test_no_number_of_our_own_captions_is_left_unread(real):
    for n, (window, facts, activity) in enumerate(real):
        caption = captions.describe(facts, activity, n)
        for text in (caption.text, caption.narration):
            claims = [claim for claim in verification.verify(text, window) if claim.holds]
            without = re.sub(r"from \d to \d s", "", text, flags=re.IGNORECASE)
            for number in re.finditer(r"-?\d+(?:\.\d+)?(?! seconds)", without.replace("of 6 seconds", "")):
                assert any(number[0] in claim.text or number[0] in str(claim.claimed) for claim in claims), (
                    text,
                    number[0],
                )


def _changed(facts, **changes):
    """Facts with some of them replaced: name=(value,) or name=(value, axis)."""
    return captions.Facts(
        replace(fact, **dict(zip(("value", "axis"), changes[name], strict=False))) if name in changes else fact
        for name, fact in facts.items()
    )


def _axis_swapped(facts, rng):
    name = rng.choice(("gravity", "strongest_axis", "rotation_axis"))
    fact = facts[name]
    if name != "gravity" and fact.confidence < 0.05:
        return None
    axis = rng.choice([letter for letter in "xyz" if letter != fact.axis])
    changes = {name: (fact.value, axis)}
    if name == "gravity":
        changes["posture"] = (axis + facts["posture"].value[1:], axis)
    return _changed(facts, **changes)


def _doubled(facts, rng):
    names = (
        "gravity",
        "tilt",
        "intensity",
        "strongest_axis",
        "rotation",
        "rotation_peak",
        "impact",
        "cadence",
        "impacts",
    )
    name = rng.choice([name for name in names if facts[name].value])
    twice = facts[name].value * 2
    if captions.say(twice) == captions.say(facts[name].value) or (name == "tilt" and round(twice) == round(twice / 2)):
        return None
    return _changed(facts, **{name: (twice,)})


def _trend_reversed(facts, rng):
    others = {"rising": "falling", "falling": "rising", "steady": rng.choice(("rising", "falling"))}
    return _changed(facts, trend=(others[facts["trend"].value],))


def _wrong_cadence(facts, rng):
    steps = facts["cadence"].value
    if steps is None:
        return _changed(facts, cadence=(rng.uniform(1.4, 2.6),), regularity=(rng.choice((0.4, 0.8)),))
    return _changed(
        facts, cadence=(rng.choice((None, steps * rng.uniform(1.15, 1.5), steps * rng.uniform(0.6, 0.87))),)
    )


def _wrong_posture(facts, rng):
    axis, side = facts["posture"].value.split(" axis ")
    if rng.random() < 0.5:
        return _changed(facts, posture=(f"{axis} axis {'down' if side == 'up' else 'up'}",))
    return _changed(facts, tilt=(facts["tilt"].value + rng.uniform(8, 40),))


KINDS = {
    "axis swapped": _axis_swapped,
    "value x 2": _doubled,
    "trend reversed": _trend_reversed,
    "wrong cadence": _wrong_cadence,
    "wrong posture": _wrong_posture,
}


def falsehood(facts, kind, rng):
    """A caption of ours in which something false of this kind is said, or None if these facts allow none."""
    false = KINDS[kind](facts, rng)
    if false is None:
        return None
    said = {form: captions.phrases(facts, form) for form in ("clause", "adjunct")}
    lies = [
        phrase
        for form in said
        for name, phrases in captions.phrases(false, form).items()
        if not name.startswith("frequency")  # the other axis does swing at the frequency that is said
        for phrase in phrases
        if phrase not in said[form].get(name, ())
    ]
    for _ in range(60):
        text = captions.describe(false, None, rng.random()).text
        if any(lie.lower() in text.lower() for lie in lies):
            return text
    return None


def test_of_200_texts_with_one_falsehood_98_percent_are_caught(real):
    rng, kinds, missed, total = random.Random(0), list(KINDS), [], 0
    while total < 200:
        window, facts, _ = rng.choice(real)
        text = falsehood(facts, kinds[total % len(kinds)], rng)
        if text is not None:
            total += 1
            if verdict(text, window) != "false":
                missed.append((kinds[total % len(kinds) - 1], text))
    assert len(missed) <= 0.02 * total, missed


def test_of_captions_with_the_wrong_window_95_percent_are_flagged(real):
    rng = random.Random(0)
    pairs = [rng.sample(real, 2) for _ in range(200)]
    flagged = [
        verdict(captions.describe(facts, None, n).text, other) == "false"
        for n, ((_, facts, _), (other, _, _)) in enumerate(pairs)
    ]
    assert np.mean(flagged) >= 0.95


def test_any_number_of_a_caption_made_half_as_large_again_is_caught(real):
    total = 0
    for n, (window, facts, _) in enumerate(real[::3]):
        text = captions.describe(facts, None, n).text
        for claim in verification.verify(text, window):
            if isinstance(claim.claimed, float) and claim.claimed:
                value = claim.text.split()[0]
                false = text[: claim.start] + text[claim.start :].replace(value, f"{claim.claimed * 1.5:.4f}", 1)
                total += 1
                assert verdict(false, window) == "false", false
    assert total > 100


# ---------------------------------------------------------------------------------------------------------- properties

texts = st.sampled_from([text for _, _, text in SENTENCES])
names = st.sampled_from(sorted(WINDOWS))


def found(text, window):
    return [(claim.quantity, claim.holds) for claim in verification.verify(text, window)]


@settings(deadline=None, max_examples=60)
@given(texts, names, st.sampled_from((str.upper, str.title, str.lower, str.swapcase)))
def test_verdicts_do_not_depend_on_capitals(text, name, change):
    assert found(change(text), WINDOWS[name]) == found(text, WINDOWS[name])


@pytest.mark.parametrize(
    ("british", "american"),
    [
        (
            "The mean of axis x is 9.8 metres per second squared.",
            "The mean of axis x is 9.8 meters per second squared.",
        ),
        ("It stabilises; the centre of gravity is on x.", "It stabilizes; the center of gravity is on x."),
        ("The behaviour is a 12 metre walk in grey clothes.", "The behavior is a 12 meter walk in gray clothes."),
    ],
)
def test_verdicts_do_not_depend_on_british_or_american_spelling(british, american):
    for window in WINDOWS.values():
        assert found(british, window) == found(american, window)


UNRELATED = ("The sky is blue.", "I like this recording!", "Sensors are fun; data are plural.", "Note: see below.")


@settings(deadline=None, max_examples=60)
@given(
    st.lists(texts.filter(lambda text: text.endswith(".")), min_size=1, max_size=3),
    st.sampled_from(UNRELATED),
    names,
    st.booleans(),
)
def test_an_unrelated_sentence_changes_no_verdict_of_the_others(parts, extra, name, first):
    text = " ".join(parts)
    longer = f"{extra} {text}" if first else f"{text} {extra}"
    assert found(longer, WINDOWS[name]) == found(text, WINDOWS[name])


fragments = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.sampled_from(
            "axis x y z gravity motion still 9.8 m/s² rad/s , . and from to the mean 2 s not no - ± of".split()
        ),
    ),
    max_size=60,
).map(" ".join)


@settings(deadline=None, max_examples=100)
@given(fragments, names)
def test_no_text_is_too_odd_to_be_read(text, name):
    for claim in verification.verify(text, WINDOWS[name]):
        assert text[claim.start : claim.end] == claim.text
        assert claim.verdict in ("supported", "contradicted", "not checkable")


REPEATED = (
    "x y and z ",
    "9.8 m/s² ",
    "1, ",
    "the ",
    "a",
    "gravity ",
    "from 1 to 2 s ",
    "acceleration x, ",
    "not ",
    ",",
)
REPEATED += (
    "0",
    "x 1, 2 ",
    "- ",
    " ",
    "motion is very ",
    "x axis ",
    "at 1.5 s ",
    "walking ",
    "1.5 rad/s and ",
    "\n",
    "?",
)


@pytest.mark.parametrize("piece", REPEATED)
def test_no_repeated_piece_makes_a_pattern_explode(piece, alarm):
    verification.verify((piece * 10_000)[:10_000], WINDOWS["walk"])


def test_a_claim_names_its_place_its_samples_and_its_verdict():
    text = "From 3 to 6 s the spread is about 3.2 m/s²; the heart rate is 80 bpm; axis y varies most."
    spread, heart, *_, axis = verification.verify(text, WINDOWS["start"])
    assert (spread.text, text[spread.start : spread.end]) == ("3.2 m/s²", "3.2 m/s²")
    assert (spread.interval, spread.channels, spread.verdict) == ((3.0, 6.0), (0, 1, 2), "supported")
    assert (heart.quantity, heart.verdict) == ("heart rate", "not checkable")
    assert (axis.channels, axis.claimed, axis.measured, axis.verdict) == ((1,), "y", "z", "contradicted")


def test_units_are_converted_and_told_in_si():
    (claim,) = verification.verify("Rotation about z peaks at 68.8 deg/s.", WINDOWS["walk"])[-1:]
    assert claim.claimed == pytest.approx(np.radians(68.8))
    assert claim.measured == pytest.approx(claim.claimed, abs=0.01)


def test_a_number_whose_meaning_is_unknown_is_not_called_true():
    claims = verification.verify("The person runs at 12.0 m/s².", WINDOWS["walk"])
    assert [claim.holds for claim in claims] == [None, None]


def test_a_dead_axis_is_found_and_nothing_is_said_of_its_frequency():
    caption = captions.describe(captions.measure(WINDOWS["fall"]), None, 0).text
    assert verdict(caption, WINDOWS["fall"]) == "true"
    assert verdict("Axis y swings at 2.0 Hz.", WINDOWS["fall"]) == "false"


def test_a_clipped_axis_is_told_from_a_working_one():
    window = walk()
    window[:, 0] = np.clip(9.81 + 9 * np.sin(2 * np.pi * 2.0 * TIME), -16, 16)
    assert verdict("Acceleration x is clipped.", window) == "true"
    assert verdict("Acceleration x and z are clipped.", window) == "false"
    assert verdict("Some channels are constant or clipped.", window) == "true"
