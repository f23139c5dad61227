"""Questions: five per window, true answers, and no label in the question."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from llasa_lib import captions, questions, signals
from llasa_lib.errors import ModelError, RecordingError
from llasa_lib.recordings import ACTIVITIES


@pytest.fixture(scope="module")
def corpus(hapt_windows):
    return questions.make_corpus(hapt_windows)


def rest(**changes):
    window = np.zeros((120, 6))
    window[:, 0] = 9.81
    return window


def test_five_questions_one_of_each_kind_in_order_and_short(corpus):
    for row in corpus:
        assert tuple(pair["kind"] for pair in row["questions"]) == questions.KINDS
        for pair in row["questions"]:
            assert 4 <= len(pair["question"].split()) <= 10
            assert 4 <= len(pair["answer"].split()) <= 22
            assert pair["question"][0].isupper()
            assert pair["answer"].endswith(".")


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
            found = captions.check_text(pair["answer"], window)
            assert [claim for claim in found if not claim.holds] == [], pair
            assert bool(found) or not re.search(r"\d", pair["answer"])
            claims += len(found)
    assert claims > 3 * len(corpus)


def test_evidence_cites_two_measured_facts_before_its_conclusion(corpus):
    for window, row in zip(signals.to_array(corpus), corpus, strict=True):
        answer = row["questions"][1]["answer"]
        assert len({claim.quantity for claim in captions.check_text(answer, window)}) >= 2
        assert answer.endswith(f"which fits {row['activity']}.")


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
    # 6,000 question sets: at chance the accuracy of a balanced six-class guess has a standard error of 0.5 %.
    facts = captions.measure_all(signals.to_array(hapt_windows))
    labels = np.array(hapt_windows["activity"])
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.choice(np.flatnonzero(labels == a), 1000) for a in np.unique(labels)])
    texts = [
        " ".join(pair.question for pair in questions.make(facts[n], labels[n], seed))
        for seed, n in enumerate(rows.tolist())
    ]
    features = CountVectorizer(ngram_range=(1, 2)).fit_transform(texts)
    guess = cross_val_predict(LogisticRegression(max_iter=300), features, labels[rows], cv=3)
    assert np.mean(guess == labels[rows]) <= 1 / 6 + 0.03


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
        if "cadence" in pair.question or "step rhythm" in pair.question
    }
    assert answers == {"There is no regular step rhythm."}


def test_what_the_sensor_cannot_know_is_refused_with_the_reason(corpus):
    answers = {row["questions"][4]["answer"] for row in corpus}
    assert len({row["questions"][4]["question"] for row in corpus}) >= 8
    assert all(re.search(r"acceleration (?:and|or) rotation", answer, re.IGNORECASE) for answer in answers)
    assert all(re.search(r"cannot|is not in", answer) for answer in answers)


def test_cited_facts_are_the_ones_in_the_answer():
    facts = captions.measure(rest())
    for seed in range(50):
        for pair in questions.make(facts, "sitting", seed):
            numbers = {captions.say(f.value) for f in pair.facts.values() if isinstance(f.value, (int, float))}
            numbers |= {f"{f.value:.0f}" for f in pair.facts.values() if f.unit == "degrees"}
            assert set(re.findall(r"-?\d+(?:\.\d+)?", pair.answer.replace("of 6", ""))) <= numbers


def test_the_corpus_keeps_the_windows_and_adds_text(hapt_windows, corpus):
    assert len(corpus) == len(hapt_windows)
    assert set(corpus.column_names) - set(hapt_windows.column_names) == {
        "caption",
        "caption_blind",
        "narration",
        "facts",
        "questions",
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
    with pytest.raises(RecordingError, match="sensor is off"):
        questions.make_corpus(few)
