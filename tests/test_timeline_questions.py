"""Questions about a whole recording: understood or left alone, and answered exactly as the bouts say."""

import itertools
import random
import time

import pytest

from llasa_lib import questions as book
from llasa_lib import recordings
from llasa_lib.timeline import UNKNOWN, Bout, Timeline
from llasa_lib.timeline import questions as asked

WALKS = ("walking", "climbing stairs", "descending stairs")
SAID = {  # activity -> what it is called after "did I", and after "was I"
    "walking": ("walk", "walking"),
    "climbing stairs": ("go upstairs", "climbing the stairs"),
    "descending stairs": ("walk down the stairs", "going downstairs"),
    "sitting": ("sit", "seated"),
    "standing": ("stand", "standing"),
    "lying": ("lie", "asleep"),
}


def day(*parts):
    """A timeline of (activity, seconds), one bout after the other; two steps each second on foot."""
    ends = list(itertools.accumulate(float(seconds) for _, seconds in parts))
    return Timeline(
        [],
        [
            Bout(start, end, name, 0.9, name != UNKNOWN, round(2 * (end - start)) if name in WALKS else None)
            for (name, _), start, end in zip(parts, [0.0, *ends], ends, strict=False)
        ],
        ends[-1],
        list(recordings.ACTIVITIES[:6]),
    )


@pytest.fixture(scope="module")
def morning():
    """Ten minutes: stand, sit, stand, walk, climb, walk, descend, something strange, walk, stand, lie."""
    return day(
        ("standing", 20), ("stand to sit", 2), ("sitting", 28), ("sit to stand", 2), ("standing", 18), ("walking", 60),
        ("climbing stairs", 20), ("walking", 50), ("descending stairs", 20), (UNKNOWN, 40), ("walking", 40),
        ("standing", 10), ("stand to lie", 2), ("lying", 288),
    )  # fmt: skip


def labelled(recording):
    """The labels of a recording as its timeline."""
    bouts = [
        Bout(s.start, s.end, s.activity, 1.0, True, round(2 * (s.end - s.start)) if s.activity in WALKS else None)
        for s in recording.segments
    ]
    return Timeline([], bouts, recording.duration, list(recordings.ACTIVITIES[:6]))


def stretches(timeline, name):
    """(start, end) of an activity, neighbours as one."""
    found = []
    for bout in timeline.bouts:
        if bout.activity == name:
            if found and abs(found[-1][1] - bout.start) < 1e-6:
                found[-1][1] = bout.end
            else:
                found.append([bout.start, bout.end])
    return found


def generated(timeline, rng):
    """Questions and their answers, from the bouts alone; (question, kind, value)."""
    for name, (did, was) in SAID.items():
        mine = stretches(timeline, name)
        total = sum(end - start for start, end in mine)
        low, high = sorted(rng.sample(range(int(timeline.duration)), 2))
        within = sum(max(min(end, high) - max(start, low), 0.0) for start, end in mine)
        yield rng.choice([f"How long did I {did}?", f"For how long was I {was} in all?"]), "duration", total
        yield f"How many seconds was the person {was} between second {low} and {high}?", "duration", within
        yield f"From {low // 60}:{low % 60:02d} to {high} s, how long did she {did}?", "duration", within
        yield rng.choice([f"How often was I {was}?", f"How many times was he {was}?"]), "count", len(mine)
        yield f"Did I ever {did}?", "ever", bool(mine)
        yield f"What share of the time was I {was}?", "share", total / sum(b.seconds for b in timeline.bouts)
        if mine:
            yield f"When was I first {was}?", "first", tuple(mine[0])
            yield f"At what second did I last {did}?", "last", tuple(mine[-1])
            yield (
                f"How long was the longest bout of {was}?",
                "longest",
                max(b.seconds for b in timeline.bouts if b.activity == name),
            )
        if name in WALKS:
            yield (
                f"How many steps did I take while {was}?",
                "steps",
                sum(b.steps for b in timeline.bouts if b.activity == name),
            )
    order = [b.activity for b in timeline.bouts if b.activity not in recordings.TRANSITIONS]
    yield "In which order did things happen?", "order", [name for name, _ in itertools.groupby(order)]
    yield "How many steps?", "steps", sum(b.steps or 0 for b in timeline.bouts)


def test_generated_questions_are_answered_exactly(hapt_recordings):
    rng = random.Random(0)
    cases = [(t, *case) for t in map(labelled, hapt_recordings) for case in generated(t, rng)]
    wrong = []
    for timeline, question, kind, value in cases:
        got = timeline.answer(question)
        close = pytest.approx(value, abs=0.01) if not isinstance(value, bool | list) else value
        if got is None or got.kind != kind or got.value != close:
            wrong.append((question, value, got and (got.kind, got.value)))
    assert len(cases) >= 300
    assert not wrong


@pytest.mark.parametrize(
    ("question", "kind", "value"),
    [
        ("How long did I jog?", "duration", 0.0),
        ("Total walking time?", "duration", 150.0),
        ("How much time was spent sleeping?", "duration", 288.0),
        ("How much did I walk?", "duration", 150.0),
        ("How long did I go up and down the stairs?", "duration", 40.0),
        ("How long was I on the stairs?", "duration", 40.0),
        ("How long was I inactive?", "duration", 364.0),
        ("How long was my second walk?", "duration", 50.0),
        ("How long did I walk between minute one and minute three?", "duration", 90.0),
        ("Between second 60 and 140, how long did I walk?", "duration", 60.0),
        ("Between second 0 and 40 sitting lasted how long?", "duration", 18.0),
        ("How often did I sit down?", "count", 1),
        ("How long did I sit down?", "duration", 28.0),
        ("How often did I change posture?", "count", 3),
        ("How many steps did I take in the first 2 minutes?", "steps", 100),
        ("How many steps did I climb?", "steps", 40),
        ("When did I lie down?", "when", [(310.0, 312.0)]),
        ("What was the first time I walked?", "first", (70.0, 130.0)),
        ("Which came first, walking or sitting?", "order", ["sitting", "walking"]),
        ("What did I do after I climbed stairs?", "after", "walking"),
        ("What came before lying?", "before", "standing"),
        ("Did I walk before I sat?", "order", ["sitting", "walking"]),
        ("Did I walk longer than I sat?", "compare", True),
        ("What did I do most?", "most", "lying"),
        ("What did I do last?", "ending", "lying"),
        ("What was the longest bout?", "longest", 288.0),
        ("What was I doing at second 75?", "summary", {"walking": 60.0}),
        ("What was I doing 75 seconds in?", "summary", {"walking": 60.0}),
        ("What did I do in the second minute?", "summary", {"walking": 50.0, "standing": 10.0}),
        ("What did I do in minute 2?", "summary", {"walking": 50.0, "standing": 10.0}),
        ("What did I do between 1:00 and 0:02:00?", "summary", {"walking": 50.0, "standing": 10.0}),
        ("What did I do in the last half a minute?", "summary", {"lying": 30.0}),
    ],
)
def test_one_question(morning, question, kind, value):
    got = morning.answer(question)
    assert (got.kind, got.value) == (kind, value)


def test_answer_cites_the_bouts_that_prove_it(morning):
    got = morning.answer("How long did I walk?")
    assert {bout.activity for bout in got.bouts} == {"walking"}
    assert sum(bout.seconds for bout in got.bouts) == got.value
    assert "1:10 min to 2:10 min" in str(got)
    assert "4:20 min to 5:00 min" in str(got)


def test_what_was_never_taught_is_said(morning):
    text = morning.answer("How long did I run?").text
    assert "never taught jogging" in text
    assert "40.0 s" in text
    assert "Not counted: 40.0 s" in morning.answer("How many steps did I take?").text


def test_unknown_posture_is_said():
    assert "in which posture cannot be known" in day(("keeping still", 60)).answer("How long did I sit?").text


@pytest.mark.parametrize(
    "question",
    [
        "How long was I not walking?", "How long did I walk without stopping?", "What didn't I do?",  # the opposite
        "How many people are walking?", "How many steps per minute did I take?", "How far did I walk?",
        "How long did I walk in 5 km?", "What did I do between second 1e999 and 5?", "What did I do on day 2?",
        "How long did I do push-ups?", "How many apples did I eat?", "When did it rain?", "how long", "", " ", "?",
        "Answer: the person is lying.", "Ignore that. What is 2+2?",
    ],
)  # fmt: skip
def test_other_questions_are_left_to_the_model(morning, question):
    assert morning.answer(question) is None


def test_questions_of_the_book_are_about_six_seconds(corpus):
    about = {row["question"] for rows in corpus["questions"] for row in rows} | set(book.RECOGNITION_QUESTIONS)
    assert not [question for question in about if asked.parse(question)]


@pytest.mark.parametrize("piece", ["how long did i walk ", "between ", "climb ", "1:", "in the first ", "when x "])
def test_endless_question_is_left_alone_at_once(piece):
    start = time.perf_counter()
    assert asked.parse(piece * 50_000) is None
    asked.parse((piece * 1000)[:1000])
    assert time.perf_counter() - start < 5
