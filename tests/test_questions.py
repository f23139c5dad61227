"""Questions: five per window, true answers, and no label in the question."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from llasa_lib import captions, questions, signals, verification
from llasa_lib.errors import ModelError, RecordingError
from llasa_lib.questions.answers import COMPARISONS, COUNTERFACTUAL
from llasa_lib.recordings import ACTIVITIES


@pytest.fixture(scope="module")
def corpus(hapt_windows):
    return questions.make_corpus(hapt_windows)


def rest(**changes):
    window = np.zeros((120, 6))
    window[:, 0] = 9.81
    return window


def test_five_questions_one_for_each_slot_in_order_and_short(corpus):
    lengths, kinds = [], set()
    for row in corpus:
        for pair, slot in zip(row["questions"], questions.SLOTS, strict=True):
            assert pair["kind"] in slot
            assert 4 <= len(pair["question"].split()) <= 10
            assert 4 <= len(pair["answer"].split()) <= 40
            assert pair["question"][0].isupper()
            assert pair["question"].endswith("?")
            assert pair["answer"].endswith(".")
            lengths.append(len(pair["answer"].split()))
            kinds.add(pair["kind"])
    assert kinds == set(questions.KINDS)
    assert 0.1 < np.mean(np.array(lengths) > 15) < 0.4, "some answers are long, most are short"


def test_recognition_is_answered_in_one_fixed_phrase(corpus):
    asked = [row["questions"][0]["question"] for row in corpus]
    assert max(set(asked), key=asked.count) == questions.RECOGNITION_QUESTION == "What is the person doing?"
    assert len(set(asked)) > 1
    for row in corpus:
        assert row["questions"][0]["answer"] == f"The person is {row['activity']}."


def test_every_number_in_every_answer_is_true(corpus):
    claims = 0
    for window, row in zip(signals.to_array(corpus), corpus, strict=True):
        for pair in row["questions"]:
            if pair["kind"] == "counterfactual":
                continue
            found = verification.verify(pair["answer"], window)
            assert [claim for claim in found if claim.holds is False] == [], pair
            assert bool(found) or not re.search(r"\d", pair["answer"])
            claims += len(found)
    assert claims > 3 * len(corpus)


def test_evidence_cites_two_measured_facts_before_its_conclusion(corpus):
    for window, row in zip(signals.to_array(corpus), corpus, strict=True):
        pair = row["questions"][1]
        if pair["kind"] == "evidence":
            assert len({claim.quantity for claim in verification.verify(pair["answer"], window)}) >= 2
            assert pair["answer"].endswith(f"fits {row['activity']}.") or (
                pair["answer"].endswith(f"these fit {row['activity']}.")
            )


def test_a_question_names_no_activity_and_no_synonym(corpus):
    leaks = {
        "walk",
        "walks",
        "walking",
        "stair",
        "stairs",
        "climb",
        "climbing",
        "descend",
        "descending",
        "sit",
        "sits",
        "sitting",
        "stand",
        "stands",
        "standing",
        "lie",
        "lies",
        "lying",
        "jog",
        "jogging",
        "run",
        "running",
        "bike",
        "biking",
        "cycling",
        "upstairs",
        "downstairs",
        "bed",
        "chair",
        "rest",
        "resting",
    }
    assert set(" ".join(ACTIVITIES).split()) <= leaks | set()
    for row in corpus:
        for pair in row["questions"]:
            assert not leaks & set(re.findall(r"[a-z]+", pair["question"].lower()))


def test_a_bag_of_words_classifier_on_the_questions_is_at_chance(hapt_windows):
    # 3,000 question sets: at chance the accuracy of a balanced six-class guess has a standard error of 0.7 %.
    facts = captions.measure_all(signals.to_array(hapt_windows))
    labels = np.array(hapt_windows["activity"])
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.choice(np.flatnonzero(labels == a), 500) for a in np.unique(labels)])
    asked = [questions.make(facts[n], labels[n], seed) for seed, n in enumerate(rows.tolist())]
    for texts in (
        [" ".join(pair.question for pair in pairs) for pairs in asked],
        [" ".join(pair.kind for pair in pairs) for pairs in asked],
    ):
        accuracy, chance = questions.leak(texts, labels[rows])
        assert chance == pytest.approx(1 / 6)
        assert accuracy <= chance + 0.03


def test_a_question_that_follows_the_label_is_found_out():
    labels = np.repeat(["walking", "lying"], 150)
    rng = np.random.default_rng(0)
    pool = ["How fast are the steps?", "Which axis carries gravity?"]
    fair = [pool[n] for n in rng.integers(2, size=300)]
    leaky = [pool[(name == "lying") ^ (rng.random() < 0.1)] for name in labels]
    assert questions.leak(fair, labels)[0] < 0.62
    assert questions.leak(leaky, labels)[0] > 0.8


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**64), st.sampled_from(ACTIVITIES), st.sampled_from(ACTIVITIES))
def test_the_choice_of_a_question_depends_on_neither_label_nor_facts(seed, one, other):
    still = captions.measure(rest())
    moving = rest()
    moving[:, 0] += 3 * np.sin(2 * np.pi * 1.8 * np.arange(120) / 20)
    asked = [pair.question for pair in questions.make(still, one, seed)]
    assert asked == [pair.question for pair in questions.make(captions.measure(moving), other, seed)]


def test_a_still_window_asked_for_its_cadence_has_none():
    facts = captions.measure(rest())
    answers = {
        pair.answer
        for seed in range(200)
        for pair in questions.make(facts, "sitting", seed)
        if pair.kind != "counterfactual" and ("cadence" in pair.question or "step rhythm" in pair.question)
    }
    assert answers == {"There is no regular step rhythm."}


def test_what_the_sensor_cannot_know_is_refused_with_the_reason(corpus):
    pairs = [row["questions"][4] for row in corpus]
    refused = {pair["answer"] for pair in pairs if not pair["question"].startswith("Can you tell")}
    assert len({pair["question"] for pair in pairs}) >= 12
    assert all(re.search(r"acceleration (?:and|or) rotation", answer, re.IGNORECASE) for answer in refused)
    assert all(re.search(r"cannot|is not in", answer) for answer in refused)


def test_what_only_sounds_unknowable_is_answered(corpus):
    answers = [
        pair["answer"] for row in corpus for pair in row["questions"] if pair["question"].startswith("Can you tell")
    ]
    assert answers
    assert all(re.match(r"Yes: .*\d", answer) for answer in answers)


def test_cited_facts_are_the_ones_in_the_answer():
    facts = captions.measure(rest())
    for seed in range(50):
        for pair in questions.make(facts, "sitting", seed):
            if pair.kind == "counterfactual":
                continue
            numbers = {captions.say(f.value) for f in pair.facts.values() if isinstance(f.value, (int, float))}
            numbers |= {f"{f.value:.0f}" for f in pair.facts.values() if f.unit == "degrees"}
            text = re.sub(r"of 6|from \d to \d s", "", pair.answer, flags=re.IGNORECASE)
            assert set(re.findall(r"-?\d+(?:\.\d+)?", text)) <= numbers


def test_the_corpus_keeps_the_windows_and_adds_text(hapt_windows, corpus):
    assert len(corpus) == len(hapt_windows)
    assert set(corpus.column_names) - set(hapt_windows.column_names) == {
        "caption",
        "caption_blind",
        "narration",
        "facts",
        "questions",
        "session",
        "told",
    }
    names = "|".join(re.escape(activity) for activity in ACTIVITIES)
    for window, row in zip(signals.to_array(corpus), corpus, strict=True):
        assert row["activity"] in row["caption"].lower()
        assert not re.search(names, row["caption_blind"].lower().replace("gravity lies", ""))
        facts = captions.Facts.from_dict(json.loads(row["facts"]))
        assert facts.to_dict() == captions.measure(window).to_dict()


def test_a_window_gets_the_same_words_wherever_it_stands(hapt_windows, corpus):
    order = np.random.default_rng(0).permutation(len(hapt_windows))[:50]
    some = questions.make_corpus(hapt_windows.select(order))
    for place, n in enumerate(order.tolist()):
        assert some[place] == corpus[n]


def test_no_two_windows_share_a_caption(corpus):
    assert len(set(corpus["caption"])) == len(corpus)


def test_windows_without_a_label_or_a_signal_are_refused(hapt_windows):
    with pytest.raises(ModelError, match="label"):
        questions.make(captions.measure(rest()), None)
    few = hapt_windows.select(range(3)).map(lambda row: {"imu": np.zeros((120, 6), np.float32)})
    with pytest.raises(RecordingError, match="sensor is connected"):
        questions.make_corpus(few)


# --- counterfactual answers: carry the transformation out, and measure again ---------------------------------------


def counterfactual(facts, part):
    """The answer to the counterfactual question that contains some words."""
    return next(answer(facts)[0] for question, answer in COUNTERFACTUAL if part in question)


def turned(window, axis, degrees):
    turn = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    return np.hstack([window[:, :3] @ turn.T, window[:, 3:] @ turn.T])


@pytest.mark.parametrize("n", range(0, 60, 7))
def test_what_would_be_is_what_a_changed_window_measures(hapt_windows, n):
    window = signals.to_array(hapt_windows)[n * 3].astype(float)
    facts = captions.measure(window)
    axis = facts["gravity"].axis
    over = turned(window, "y" if axis == "x" else "x", 180)
    reads = captions.measure(over)["gravity"]
    assert counterfactual(facts, "upside down") == f"Axis {axis} would read {captions.say(reads.value)} m/s²."
    quarter = captions.measure(turned(window, "z", 90))["gravity"].axis
    assert re.search(rf"axis {quarter}\b", counterfactual(facts, "quarter turn"), re.IGNORECASE)
    any_way = captions.measure(turned(turned(window, "x", 40), "z", 70))["intensity"].value
    assert f" {captions.say(any_way)} m/s²" in counterfactual(facts, "were turned")
    backwards = captions.measure(window[::-1])["impact_time"].value
    assert f"after {captions.say(backwards)} s" in counterfactual(facts, "backwards")
    assert f" {facts['impact'].value / 9.80665:.2f} g" in counterfactual(facts, "in g")


def test_at_half_the_speed_a_rhythm_has_half_the_cadence():
    window = rest()
    window[:, 0] += 3 * np.sin(2 * np.pi * 3.0 * np.arange(120) / 20)
    slow = rest()
    slow[:, 0] += 3 * np.sin(2 * np.pi * 1.5 * np.arange(120) / 20)
    facts, half = captions.measure(window), captions.measure(slow)
    assert half["cadence"].value == pytest.approx(facts["cadence"].value / 2, rel=0.05)
    assert f"{captions.say(facts['cadence'].value / 2)} steps/s" in counterfactual(facts, "half speed")


# --- two windows ---------------------------------------------------------------------------------------------------


def test_a_comparison_cites_both_values_and_names_the_larger(hapt_windows):
    facts = captions.measure_all(signals.to_array(hapt_windows))
    walking = next(f for f, name in zip(facts, hapt_windows["activity"], strict=True) if name == "walking")
    still = captions.measure(rest())
    seen = set()
    for seed in range(60):
        for first, second in ((walking, still), (still, walking)):
            pair = questions.compare(first, second, seed)
            seen.add(pair.question)
            assert pair.kind == "comparison"
            if "more" in pair.question or "higher" in pair.question:
                assert pair.answer.startswith(f"The {'first' if first is walking else 'second'}")
                for side in pair.facts:
                    assert captions.say(next(iter(side.values())).value) in pair.answer
            if "steps" in pair.question:
                assert "no regular step rhythm" in pair.answer
        assert questions.compare(still, walking, seed).question == questions.compare(walking, still, seed).question
    assert len(seen) == len(COMPARISONS)


def test_equal_windows_differ_in_nothing():
    still = captions.measure(rest())
    for seed in range(30):
        assert re.match(r"Neither|Yes|That cannot", questions.compare(still, still, seed).answer)


def test_comparisons_of_a_corpus_are_the_same_every_time_and_never_of_one_window(corpus):
    pairs = questions.make_comparisons(corpus, 40, seed=3)
    assert pairs.to_list() == questions.make_comparisons(corpus, 40, seed=3).to_list()
    assert pairs.to_list() != questions.make_comparisons(corpus, 40, seed=4).to_list()
    assert all(row["first"] != row["second"] for row in pairs)
    with pytest.raises(ModelError, match="two windows"):
        questions.make_comparisons(corpus.select([0]), 3)


# --- people ----------------------------------------------------------------------------------------------------------


def test_no_window_of_a_test_person_is_in_any_training_text(smoke_run):
    splits = smoke_run.caption()
    hashes = {name: {questions.window_seed(w) for w in signals.to_array(split)} for name, split in splits.items()}
    for name in ("validation", "test"):
        assert hashes[name]
        assert not hashes["train"] & hashes[name]
        assert not set(splits["train"]["narration"]) & set(splits[name]["narration"])


# --- augmented copies ---------------------------------------------------------------------------------------------


def test_copies_come_behind_the_corpus_and_leave_it_alone(corpus):
    enlarged = questions.add_augmented(corpus, ["mirrored", "pocket"])
    assert len(enlarged) == 3 * len(corpus)
    assert enlarged.select(range(len(corpus))).to_dict() == corpus.to_dict()
    for name in ("subject", "start"):
        assert enlarged[name][len(corpus) : 2 * len(corpus)] == corpus[name][:]
    assert len(set(signals.window_hashes(signals.to_array(enlarged)))) == len(enlarged), "every copy is another window"
    assert questions.add_augmented(corpus, []) is corpus


@pytest.mark.parametrize("kind", questions.COPIES)
def test_the_text_of_a_copy_is_true_of_the_copy(corpus, kind):
    copies = questions.add_augmented(corpus, [kind]).select(range(len(corpus), 2 * len(corpus)))
    for window, text in zip(signals.to_array(copies), copies["caption_blind"], strict=True):
        assert all(claim.holds is not False for claim in verification.verify(text, window)), text


def test_copies_do_not_depend_on_what_was_drawn_before(corpus):
    first = questions.add_augmented(corpus, ["alone"], seed=4)
    np.random.default_rng().random(3)
    assert first.to_dict() == questions.add_augmented(corpus, ["alone"], seed=4).to_dict()
