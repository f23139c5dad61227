"""Promises of a whole recording: honest bouts, steps, and answers that a program can prove."""

import copy
import json

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llasa_lib import asking, model, pipeline, plots, questions, recordings, signals, timeline
from llasa_lib.errors import ModelError, RecordingError
from llasa_lib.recordings import Recording, Segment
from llasa_lib.timeline import CHANGING, UNKNOWN, Bout, Timeline, decoding
from llasa_lib.timeline.questions import parse
from llasa_lib.timeline.steps import steps_of

SIX = list(recordings.ACTIVITIES[:6])
RATE = 50.0


def told(recording, names=SIX, unknown=(), noise=0.0, seed=0):
    """A timeline from window probabilities made of the labels: the longest in a window is likely, some are wrong."""
    pieces = signals.resample(recording)
    _, columns = signals.cut_windows(pieces, stride=60, labelled=False)
    rng, starts = np.random.default_rng(seed), np.array(columns["start"])
    probabilities, known = np.full((len(starts), len(names)), 0.02), np.ones(len(starts), dtype=bool)
    for n, start in enumerate(starts):
        inside = {}
        for segment in recording.segments:
            overlap = min(start + 6, segment.end) - max(start, segment.start)
            inside[segment.activity] = inside.get(segment.activity, 0) + max(overlap, 0)
        name = max((one for one in inside if one in names), key=inside.get)
        right = rng.random() >= noise
        probabilities[n, names.index(name) if right else rng.integers(len(names))] = 0.9
        known[n] = name not in unknown
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return timeline.build(recording, pieces, starts, names, probabilities, known)


def joined(recording, *activities, seconds=20):
    """What somebody did as one recording: the longest piece of each activity, one behind the other."""
    parts, segments, end = [], [], 0.0
    for activity in activities:
        mine = [segment for segment in recording.segments if segment.activity == activity]
        first = max(mine, key=lambda segment: segment.end - segment.start)
        part = recording.imu[int(first.start * RATE) : int(min(first.end, first.start + seconds) * RATE)]
        segments.append(Segment(end, end + len(part) / RATE, activity))
        parts, end = [*parts, part], end + len(part) / RATE
    imu = np.concatenate(parts)
    return Recording(np.arange(len(imu)) / RATE, imu[:, :3], imu[:, 3:], "one", segments=segments)


def still(seconds=60.0, rate=RATE):
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).normal(0, 0.02, (len(time), 6))
    return Recording(time, [0, 0, 9.81] + noise[:, :3], noise[:, 3:], "table", segments=[Segment(0, seconds, "lying")])


@pytest.fixture(scope="module")
def people(hapt_recordings):
    """The training and the validation person."""
    return [one for one in hapt_recordings if one.subject in ("hapt-01", "hapt-05")]


@pytest.fixture(scope="module")
def found(people):
    return [told(one, noise=0.05) for one in people]


# --- bouts --------------------------------------------------------------------------------------------------------


def test_nine_of_ten_boundaries_are_within_a_second_and_a_half(people, found):
    away = []
    for recording, one in zip(people, found, strict=True):
        bounds = np.array([bout.start for bout in one.bouts] + [one.bouts[-1].end])
        # What lies before the first label is nobody's boundary.
        labels = {b for s in recording.segments for b in (s.start, s.end)} - {recording.segments[0].start}
        away += [np.abs(bounds - label).min() for label in labels]
    assert len(away) > 100
    assert np.mean(np.array(away) <= 1.5) >= 0.9


def test_each_activity_lasts_as_long_as_its_labels(people, found):
    true, measured = dict.fromkeys(SIX, 0.0), dict.fromkeys(SIX, 0.0)
    for recording, one in zip(people, found, strict=True):
        for segment in recording.segments:
            if segment.activity in SIX:
                true[segment.activity] += segment.end - segment.start
        for bout in one.bouts:
            for segment in recording.segments:
                overlap = min(bout.end, segment.end) - max(bout.start, segment.start)
                if bout.activity in SIX:
                    measured[bout.activity] += max(overlap, 0)
    assert measured == pytest.approx(true, rel=0.05)


def test_the_changes_of_posture_are_found_by_name_and_in_order(people, found):
    for recording, one in zip(people, found, strict=True):
        true = [s.activity for s in recording.segments if s.activity in recordings.TRANSITIONS]
        last = max(s.end for s in recording.segments if s.activity in recordings.TRANSITIONS)
        named = [b.activity for b in one.bouts if b.activity in recordings.TRANSITIONS and b.start < last]
        assert named == true


@pytest.mark.parametrize("pair", [("walking", "climbing stairs"), ("descending stairs", "walking")])
def test_two_movements_without_a_pause_part_where_the_signal_changes(people, pair):
    for recording in people:
        walk = joined(recording, *pair)
        one = told(walk)
        assert [bout.activity for bout in one.bouts] == list(pair)
        assert one.bouts[0].end == pytest.approx(walk.segments[0].end, abs=1.5)


def test_one_wrong_window_is_no_bout(people):
    recording = joined(people[0], "lying")
    pieces = signals.resample(recording)
    _, columns = signals.cut_windows(pieces, stride=60, labelled=False)
    probabilities = np.tile(np.eye(6)[SIX.index("lying")], (len(columns["start"]), 1))
    probabilities[2] = np.eye(6)[SIX.index("walking")]
    one = timeline.build(recording, pieces, columns["start"], SIX, probabilities, np.ones(len(probabilities), bool))
    assert [bout.activity for bout in one.bouts] == ["lying"]
    assert {row.activity for row in one} == {"lying"}


def test_bouts_follow_each_other_and_rows_are_the_windows(people, found):
    for recording, one in zip(people, found, strict=True):
        assert one.bouts[0].start == 0
        assert one.bouts[-1].end == pytest.approx(recording.duration, abs=0.1)
        for before, after in zip(one.bouts[:-1], one.bouts[1:], strict=True):
            assert before.end == after.start
            assert before.activity != after.activity
        assert [row.end - row.start for row in one] == pytest.approx([6] * len(one))
        assert np.diff([row.start for row in one]) == pytest.approx([3] * (len(one) - 1))
        assert all(0 < row.probability <= 1 + 1e-9 for row in (*one, *one.bouts))


def test_a_recording_that_starts_late_is_told_from_its_own_beginning(people):
    recording = joined(people[0], "standing", "walking")
    late = Recording(recording.time + 1e6, recording.acceleration, recording.rotation, "late")
    late = timeline_of(late, recording)
    flat = lambda one: [value for bout in one.bouts for value in (bout.start, bout.end, bout.steps or 0)]
    assert flat(late) == pytest.approx(flat(told(recording)), abs=1e-6)


def timeline_of(recording, labelled):
    shift = recording.time[0] - labelled.time[0]
    segments = [Segment(s.start + shift, s.end + shift, s.activity) for s in labelled.segments]
    return told(Recording(recording.time, recording.acceleration, recording.rotation, "x", segments=segments))


def test_no_bout_crosses_a_gap(people):
    recording = joined(people[0], "walking", "standing", "walking")
    gone = (recording.time > 8) & (recording.time < 10)
    kept = Recording(*(part[~gone] for part in (recording.time, recording.acceleration, recording.rotation)), "gap")
    one = timeline_of(kept, recording)
    assert not [bout for bout in one.bouts if bout.start < 8 and bout.end > 10]
    assert one.answer("How often did I walk?").value == 3


def test_what_is_unlike_anything_taught_is_a_bout_of_its_own(people):
    recording = joined(people[0], "standing", "walking", "climbing stairs")
    one = told(recording, unknown=("walking",))
    assert [bout.activity for bout in one.bouts] == ["standing", UNKNOWN, "climbing stairs"]
    assert [bout.known for bout in one.bouts] == [True, False, True]
    assert one.bouts[1].start == pytest.approx(recording.segments[1].start, abs=1.5)
    assert one.bouts[1].steps is None
    assert {row.known for row in one} == {True, False}
    assert all((row.activity == UNKNOWN) != row.known for row in one)


def test_names_are_whatever_the_model_was_taught(people):
    recording = joined(people[0], "standing", "walking", "standing")
    segments = [Segment(s.start, s.end, {"standing": "keeping still"}.get(s.activity, "hopping"))
                for s in recording.segments]  # fmt: skip
    other = Recording(recording.time, recording.acceleration, recording.rotation, "x", segments=segments)
    one = told(other, names=["hopping", "keeping still"])
    assert [bout.activity for bout in one.bouts] == ["keeping still", "hopping", "keeping still"]


def test_a_posture_without_a_name_changes_without_one(people):
    recording = next(r for r in people if r.segments)
    middle = next(s for s in recording.segments if s.activity == "stand to lie")
    rows = (recording.time > middle.start - 12) & (recording.time < middle.end + 12)
    segments = [Segment(middle.start - 12, middle.end + 12, "keeping still")]
    piece = Recording(
        recording.time[rows], recording.acceleration[rows], recording.rotation[rows], "x", segments=segments
    )
    activities = [bout.activity for bout in told(piece, names=[*SIX, "keeping still"]).bouts]
    assert activities in (["keeping still"], ["keeping still", CHANGING, "keeping still"])


# --- the chain ----------------------------------------------------------------------------------------------------

chains = st.integers(0, 10_000).map(np.random.default_rng)


@settings(max_examples=25, deadline=None)
@given(chains, st.integers(1, 5), st.integers(2, 3))
def test_the_best_path_and_the_posterior_are_those_of_all_paths(rng, length, count):
    import itertools

    likelihoods = rng.normal(0, 2, (length, count))
    changes = np.log(rng.dirichlet(np.ones(count), count))
    paths = list(itertools.product(range(count), repeat=length))
    score = np.array([
        sum(likelihoods[n, s] for n, s in enumerate(path)) + sum(changes[a, b] for a, b in itertools.pairwise(path))
        for path in paths
    ])  # fmt: skip
    assert tuple(decoding.best_path(likelihoods, changes)) == paths[score.argmax()]
    weight = np.exp(score - score.max())
    weight /= weight.sum()
    true = [[sum(w for w, p in zip(weight, paths, strict=True) if p[n] == s) for s in range(count)]
            for n in range(length)]  # fmt: skip
    np.testing.assert_allclose(decoding.posterior(likelihoods, changes), true, atol=1e-9)


def test_a_single_window_is_no_surer_than_the_model_was(people):
    recording = joined(people[0], "walking", seconds=6.2)
    pieces = signals.resample(recording)
    moving = [0.6, 0.3, 0.1, 0, 0, 0]
    one = timeline.build(recording, pieces, [0.0], SIX, [moving], [True])
    assert len(one) == 1
    assert one[0].activity == "walking"
    assert 0.4 < one[0].probability <= 0.6 + 1e-6


# --- steps --------------------------------------------------------------------------------------------------------


def test_steps_are_within_five_in_a_hundred_of_cadence_times_time(people):
    counted = expected = 0.0
    for recording in people:
        for segment in recording.segments:
            if segment.activity == "walking":
                rows = (recording.time >= segment.start) & (recording.time < segment.end)
                counted += steps_of(recording.time[rows], recording.acceleration[rows])
                # Another way: the lag at which |a| is most like itself, in pieces of about four seconds.
                size = np.linalg.norm(recording.acceleration[rows], axis=1)
                for piece in np.array_split(size - size.mean(), len(size) // 200):
                    lags = np.arange(17, 43)
                    likeness = [(piece[lag:] * piece[:-lag]).mean() for lag in lags]
                    expected += len(piece) / lags[int(np.argmax(likeness))]
    assert counted > 300
    assert counted == pytest.approx(expected, rel=0.05)


@settings(max_examples=25, deadline=None)
@given(st.floats(1.2, 3.0), st.floats(0.8, 8), st.sampled_from([20.0, 50.0, 100.0]))
def test_every_step_of_an_even_walk_counts_once(cadence, height, rate):
    time = np.arange(round(20 * rate)) / rate
    size = 9.81 + height * np.sin(2 * np.pi * cadence * time)
    acceleration = np.column_stack([0 * size, 0 * size, size])
    assert steps_of(time, acceleration) == pytest.approx(20 * cadence, abs=1.5)


def test_only_who_is_on_foot_takes_steps(found):
    for one in found:
        assert {b.activity for b in one.bouts if b.steps is not None} <= set(decoding.ON_FOOT)
        assert one.steps == sum(b.steps for b in one.bouts if b.steps is not None) > 200


# --- bad input ----------------------------------------------------------------------------------------------------


def test_an_hour_on_the_table_is_one_bout():
    one = told(still(3600))
    assert [(bout.activity, bout.steps) for bout in one.bouts] == [("lying", None)]
    assert one.steps == 0


def test_a_recording_below_six_seconds_is_refused(tiny_llasa):
    with pytest.raises(RecordingError, match="6 s"):
        asking.recognise(still(5), None, None, *tiny_llasa)


@pytest.mark.parametrize("shape", [(0, 120, 6), (2, 100, 6), (120, 6), (0,)])
def test_what_are_no_windows_is_refused_before_a_model_is_loaded(shape, monkeypatch):
    monkeypatch.setattr(pipeline, "ready", lambda profile: pytest.fail("the model was loaded"))
    with pytest.raises(RecordingError):
        asking.recognise(np.ones(shape))


@pytest.mark.parametrize("stride", [1, 60, 119])
def test_windows_that_overlap_are_laid_over_each_other(people, stride):
    imu, _ = signals.cut_windows(people[:1], stride=stride, labelled=False)
    recording, starts = timeline.from_windows(imu[:20])
    assert np.allclose(starts, np.arange(20) * stride / signals.RATE)
    whole = np.concatenate([imu[0], *(window[-stride:] for window in imu[1:20])])
    assert np.array_equal(recording.imu, whole)


def test_windows_one_after_the_other_are_taken_even_if_nothing_moves(people):
    imu, _ = signals.cut_windows(people[:1], labelled=False)
    assert timeline.from_windows(imu)[0].duration == pytest.approx(6 * len(imu), abs=0.1)
    quiet = np.tile([0, 0, 9.81, 0, 0, 0], (4, 120, 1))
    assert len(timeline.from_windows(quiet)[0].time) == 480


def test_probabilities_of_other_windows_are_refused(people):
    pieces = signals.resample(people[0])
    for rows in (0, 3):
        with pytest.raises(RecordingError, match="probabilities"):
            timeline.build(people[0], pieces, [0.0] * rows, SIX, np.ones((2, 6)) / 6, [True] * rows)


# --- questions ----------------------------------------------------------------------------------------------------


@pytest.fixture
def day():
    plan = [("standing", 30, None), ("walking", 60, 100), ("climbing stairs", 10, 15), ("walking", 20, 36),
            ("stand to sit", 3, None), ("sitting", 57, None), ("sit to lie", 4, None), ("lying", 96, None),
            (UNKNOWN, 20, None)]  # fmt: skip
    bouts, end = [], 0.0
    for activity, seconds, steps in plan:
        bouts.append(Bout(end, end + seconds, activity, 0.9, activity != UNKNOWN, steps))
        end += seconds
    return Timeline([], bouts, end, SIX)


ANSWERS = [
    ("How long did I walk?", 80), ("How much time did she spend on the stairs?", 10), ("How long was I asleep?", 96),
    ("For how many seconds did the person lie down?", 96), ("How long did I keep still?", 183),
    ("How long did it take to go upstairs?", 10), ("How long was my second walk?", 20),
    ("How long did I walk between second 60 and 95?", 30), ("How long did I stand in the first minute?", 30),
    ("How long was I sitting between 2:00 and 2:30?", 27), ("How long did I lie after minute 4?", 40),
    ("How long did I cycle?", 0), ("How often did I walk?", 2), ("How many times did I sit down?", 1),
    ("How often did I run?", 0), ("How many stairs did I climb?", 15), ("How many steps did I take?", 151),
    ("How many steps did I take while walking?", 136), ("How many steps did I take after minute 1.5?", 51),
    ("How many steps was my last walk?", 36), ("How often did my posture change?", 2),
    ("When did I first walk?", (30, 90)), ("When did I start walking?", (30, 90)),
    ("When did I last walk?", (100, 120)),
    ("When did I stop walking?", (100, 120)), ("When did I sit down?", [(120, 123)]),
    ("When was I walking?", [(30, 90), (100, 120)]), ("When did I first jog?", None),
    ("In which order did I lie, walk and sit?", ["walking", "sitting", "lying"]),
    ("In what order did I do things?",
     ["standing", "walking", "climbing stairs", "walking", "sitting", "lying", UNKNOWN]),
    ("What was my longest walk?", 60), ("Which was the longest bout?", 96), ("What was my shortest walk?", 20),
    ("What did I do most?", "lying"), ("What did I do first?", "standing"), ("What did I do last?", UNKNOWN),
    ("What did I do after sitting?", "lying"), ("What came before climbing the stairs?", "walking"),
    ("Did I ever run?", False), ("Did I lie down?", True), ("Was the person ever walking downstairs?", False),
    ("Did I sit longer than I walked?", False), ("Did I walk before I sat?", ["walking", "sitting"]),
    ("What percentage of the time did I walk?", 80 / 300),
    ("What did I do between second 80 and 100?", {"walking": 10, "climbing stairs": 10}),
    ("What did I do in the last 30 seconds?", {UNKNOWN: 20, "lying": 10}),
    ("What was I doing at 1:35?", {"climbing stairs": 10}),
]  # fmt: skip


@pytest.mark.parametrize(("question", "value"), ANSWERS)
def test_a_question_about_the_whole_is_answered_by_the_bouts(day, question, value):
    answer = day.answer(question)
    assert answer.value == (pytest.approx(value) if isinstance(value, float | int) else value)
    assert not answer.text[0].islower()
    assert answer.text.rstrip().endswith(".")


@pytest.mark.parametrize("question", ["What did I do?", "What happened?", "What changed?", "Summarise my day."])
def test_a_summary_tells_all(day, question):
    answer = day.answer(question)
    assert answer.value == pytest.approx(day.seconds())
    assert answer.bouts == day.bouts


def test_an_answer_cites_the_bouts_that_prove_it(day):
    answer = day.answer("How long did I walk?")
    assert answer.text == "Walking lasted 1:20 min in all, in 2 bouts."
    assert answer.bouts == [bout for bout in day.bouts if bout.activity == "walking"]
    assert "30.0 s to 1:30 min  walking (90%, 100 steps)" in str(answer)


@pytest.mark.parametrize("kind", ["duration", "count", "steps", "first", "order", "share", "ever", "longest"])
def test_generated_questions_are_exact(found, kind):
    words = {"walking": "walk", "climbing stairs": "climb stairs", "descending stairs": "go downstairs",
             "sitting": "sit", "standing": "stand", "lying": "lie"}  # fmt: skip
    asked = {
        "duration": "How long did I {}?", "count": "How often did I {}?", "steps": "How many steps did I {}?",
        "first": "When did I first {}?", "order": "In which order did I {}?", "share": "What share of time did I {}?",
        "ever": "Did I ever {}?", "longest": "What is the longest time I {}?",
    }[kind]  # fmt: skip
    for one in found:
        for name, word in words.items():
            mine = [bout for bout in one.bouts if bout.activity == name]
            total = sum(bout.seconds for bout in one.bouts)
            true = {
                "duration": sum(bout.seconds for bout in mine), "count": len(mine), "ever": bool(mine),
                "steps": sum(bout.steps or 0 for bout in mine), "share": sum(bout.seconds for bout in mine) / total,
                "first": (mine[0].start, mine[0].end), "order": [name], "longest": max(b.seconds for b in mine),
            }[kind]  # fmt: skip
            answer = one.answer(asked.format(word))
            assert answer.kind == kind
            assert answer.value == (pytest.approx(true) if isinstance(true, float) else true)


def test_no_question_about_six_seconds_is_taken_for_one_about_the_whole(corpus):
    asked = {pair["question"] for pairs in corpus["questions"] for pair in pairs} | set(questions.RECOGNITION_QUESTIONS)
    assert len(asked) > 40
    assert [question for question in asked if parse(question)] == []


@pytest.mark.parametrize(
    "question",
    ["", "?", "Who am I?", "How fast did I walk?", "How many apples did I eat?", "When did it rain?", "Is she walking?",
     "What is the person doing?", "What should I do?", "Why did I walk?", "How do I sit well?", "between 1 and 2",
     "When is acceleration largest?", "How long is the signal still?"],
)  # fmt: skip
def test_a_question_about_anything_else_is_left_to_the_model(day, question):
    assert day.answer(question) is None


def test_what_cannot_be_known_is_said(day):
    assert "never taught jogging; 20.0 s are unlike anything" in day.answer("How long did I jog?").text
    assert "Not counted: 20.0 s" in day.answer("How many steps did I take?").text
    assert "lasts 5:00 min" in day.answer("What did I do between minute 8 and 9?").text
    posture = Timeline([], [Bout(0, 50, "keeping still", 0.9, True)], 50, [*SIX, "keeping still"])
    assert "keeps still for 50.0 s" in posture.answer("How long did I sit?").text
    assert "Besides" not in posture.answer("How long was I at rest?").text


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="how long did i walk sit stairs between 12:3. and minute first last when?", max_size=60))
def test_any_words_get_an_answer_or_none(words):
    bouts = [Bout(0, 5, "walking", 1.0, True, 9), Bout(5, 9, "sitting", 1.0, True)]
    answer = Timeline([], bouts, 9.0, SIX).answer(words)
    assert answer is None or answer.text


@pytest.mark.parametrize("question", ["How long did I walk?", "What was I doing at second 3?", "What did I do most?"])
def test_a_timeline_without_bouts_answers_too(question):
    assert Timeline([], [], 0.0, SIX).answer(question).text


# --- recognise, the command, the figure ---------------------------------------------------------------------------


@pytest.fixture
def sure(monkeypatch):
    """A model that is sure of walking."""
    scores = lambda names: np.where(np.array(names) == "walking", 0.95, 0.05 / (len(names) - 1))
    told = lambda llasa, processor, windows, names: (names, np.tile(scores(names), (len(windows), 1)))
    monkeypatch.setattr(model, "recognised", told)


@pytest.fixture
def csv(people, tmp_path):
    recording = joined(people[0], "walking")
    table = np.column_stack([recording.time, recording.imu])
    np.savetxt(tmp_path / "walk.csv", table, delimiter=",", header="time,ax,ay,az,gx,gy,gz", comments="")
    return tmp_path / "walk.csv"


def test_a_recording_its_file_and_its_windows_tell_the_same(people, csv, sure, tiny_llasa):
    recording = joined(people[0], "walking")
    imu, _ = signals.cut_windows([recording], labelled=False)
    told = [asking.recognise(one, None, None, *tiny_llasa) for one in (recording, csv, str(csv), imu)]
    assert [[bout.activity for bout in one.bouts] for one in told] == [["walking"]] * 4
    assert [len(one) for one in told] == [5, 5, 5, 3]
    assert told[0].steps == told[1].steps == pytest.approx(told[3].steps, abs=10)


def test_the_real_model_tells_of_a_recording(people, tiny_llasa):
    one = asking.recognise(joined(people[0], "standing", "walking"), None, None, *tiny_llasa)
    assert len(one) > 5
    assert one.bouts


@pytest.fixture
def with_model(monkeypatch, tiny_llasa):
    monkeypatch.setattr(pipeline, "ready", lambda profile: tiny_llasa)


def test_the_command_prints_bouts_or_json_alone(command, csv, sure, with_model):
    code, out, _ = command("timeline", csv)
    assert code == 0
    assert "walking" in out
    assert "steps" in out
    code, out, _ = command("timeline", csv, "--json", "--placement", "waist")
    found = json.loads(out)
    assert [bout["activity"] for bout in found["bouts"]] == ["walking"]
    assert found["steps"] == found["bouts"][0]["steps"]
    assert set(found["rows"][0]) == {"start", "end", "activity", "probability", "known"}


def test_the_command_draws_a_figure(command, csv, sure, with_model, tmp_path):
    matplotlib.use("agg")
    assert command("timeline", csv, "--figure", tmp_path / "mine.png")[0] == 0
    assert (tmp_path / "mine.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", ["mine.exe", "mine", "walk.csv"])
def test_a_figure_in_no_form_that_can_be_drawn_is_refused_at_once(command, csv, name):
    code, _, err = command("timeline", csv, "--figure", csv.parent / name)
    assert (code, ".png, .pdf or .svg" in err) == (2, True)


def test_a_question_about_the_whole_uses_the_whole_unless_a_start_is_given(command, csv, sure, with_model):
    code, out, _ = command("ask", csv, "How many steps did I take?")
    assert code == 0
    assert "0.0 s to " in out
    code, out, _ = command("ask", csv, "How many steps did I take?", "--start", "0", "--tokens", "2")
    assert code == 0
    assert "0.0 to 6.0 s" in out
    assert "the sensor alone says" in out


def test_a_bad_file_is_told_before_a_model_is_loaded(command, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "ready", lambda profile: pytest.fail("the model was loaded"))
    for verb in (("timeline", tmp_path / "none.csv"), ("ask", tmp_path / "none.csv", "How long did I walk?")):
        code, _, err = command(*verb)
        assert (code, "no such file" in err) == (2, True)


@pytest.mark.parametrize(("seconds", "unit"), [(60, "s"), (3600, "min"), (7300, "h")])
def test_the_figure_shows_bouts_with_a_unit_that_fits(seconds, unit):
    matplotlib.use("agg")
    recording = still(seconds)
    bouts = [Bout(0, seconds / 2, "sitting", 0.9, True), Bout(seconds / 2, seconds, UNKNOWN, 0.7, False)]
    axes = plots.timeline(recording, Timeline([timeline.Row(0, 6, "sitting", 0.9, True)], bouts, float(seconds), SIX))
    assert axes[2].get_xlabel() == f"time ({unit})"
    assert [label.get_text() for label in axes[1].get_yticklabels()] == ["sitting", UNKNOWN]
    assert "m/s²" in axes[0].get_ylabel()
    hatched = [bars for bars in axes[1].collections if bars.get_hatch()]
    assert len(hatched) == 1, "what is unknown is hatched"
    plt.close("all")


def test_a_day_is_decoded_a_tick_at_a_time():
    ticks, changes = 172_800, decoding.changes_of(decoding.states_of(SIX))
    likelihoods = np.random.default_rng(0).normal(0, 1, (ticks, len(changes)))
    assert decoding.best_path(likelihoods, changes).shape == (ticks,)
    assert np.isfinite(decoding.posterior(likelihoods, changes)).all()


# --- what a recording cannot tell about itself ----------------------------------------------------------------------


def test_a_recording_of_one_activity_says_that_it_cannot_calibrate(tiny_llasa, people):
    llasa, processor = tiny_llasa
    imu, columns = signals.cut_windows(people[:2])
    extractor = copy.deepcopy(processor.feature_extractor).fit(signals.calibrate(imu, columns["subject"]))
    read = copy.copy(processor)
    read.feature_extractor = extractor
    walks = imu[np.array(columns["activity"]) == "walking"]
    alone, all_of_it = (asking.recognise(part, "pocket", llasa=llasa, processor=read) for part in (walks, imu))
    assert "too few kinds of movement" in alone.note
    assert alone.note in str(alone)
    assert alone.note in alone.answer("How long did I walk?").text
    assert json.loads(alone.to_json())["note"] == alone.note
    assert not all_of_it.note


def test_a_word_that_is_no_placement_is_refused_with_those_that_are(tiny_llasa, people):
    imu, _ = signals.cut_windows(people[:1])
    with pytest.raises(ModelError, match=r"'hat' is no placement.* waist, trouser pocket, wrist"):
        asking.recognise(imu, "hat", llasa=tiny_llasa[0], processor=tiny_llasa[1])


def test_a_word_that_is_no_placement_is_refused_before_a_model_is_loaded(csv, monkeypatch):
    monkeypatch.setattr(pipeline, "ready", lambda profile: pytest.fail("loaded"))
    for call in (lambda: asking.recognise(csv, "hat"), lambda: asking.ask(csv, "What is it?", placement="hat")):
        with pytest.raises(ModelError, match="no placement"):
            call()


@pytest.mark.parametrize(("placement", "guessed"), [(None, True), ("waist", False)])
def test_an_answer_about_six_seconds_says_that_a_pocket_was_guessed(
    placement, guessed, command, csv, sure, with_model, monkeypatch
):
    monkeypatch.setattr(model.familiarity, "swings", lambda windows: np.ones(len(windows), bool))
    _, out, _ = command("ask", csv, "--start", 0, "--tokens", 4, *(["--placement", placement] if placement else []))
    assert ("taken to be in a pocket" in " ".join(out.split())) is guessed


def test_where_nobody_walked_no_posture_is_told(people, tiny_llasa, monkeypatch):
    names = [*recordings.ACTIVITIES[:6], questions.STILL]
    lies = np.eye(len(names))[names.index("lying")]
    monkeypatch.setattr(
        model, "recognised", lambda llasa, processor, windows, _: (names, np.tile(lies, (len(windows), 1)))
    )
    tell = lambda *what: {
        b.activity for b in asking.recognise(joined(people[0], *what), "waist", None, *tiny_llasa).bouts
    }
    assert tell("lying") == {questions.STILL}
    assert "lying" in tell("walking", "lying")
