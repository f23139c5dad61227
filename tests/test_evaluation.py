"""Promises of ``llasa_lib.evaluation``: scores that mean what they say, on the same windows for every system."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from llasa_lib import encoder, evaluation, profiles, questions, signals
from llasa_lib.errors import ArtifactError
from llasa_lib.evaluation import System
from llasa_lib.evaluation.run import GENERATED, MIRRORED, NEAREST, SCORED, TURNED, ZEROED, turned
from llasa_lib.recordings import ACTIVITIES

SIX = list(ACTIVITIES[:6])
pairs = st.lists(st.tuples(st.sampled_from(SIX), st.sampled_from([*SIX, "unclear"])), min_size=1, max_size=40)


def two(pairs):
    return [one for one, _ in pairs], [other for _, other in pairs]


# --- macro-F1 -----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(pairs)
def test_macro_f1_is_the_mean_over_activities_that_occur(pairs):
    true, predicted = two(pairs)
    each = [f1_score([t == name for t in true], [p == name for p in predicted], zero_division=0) for name in set(true)]
    assert evaluation.macro_f1(true, predicted) == pytest.approx(np.mean(each))


@settings(deadline=None, max_examples=30)
@given(pairs, st.randoms())
def test_macro_f1_does_not_depend_on_order_or_names(pairs, random):
    score = evaluation.macro_f1(*two(pairs))
    assert 0 <= score <= 1
    shuffled = random.sample(pairs, len(pairs))
    assert evaluation.macro_f1(*two(shuffled)) == pytest.approx(score)
    renamed = [(f"z {one}", f"z {other}") for one, other in pairs]
    assert evaluation.macro_f1(*two(renamed)) == pytest.approx(score)


def test_absent_classes_and_unclear_do_not_join_the_mean():
    true = ["walking"] * 4 + ["sitting"] * 4
    predicted = ["walking"] * 3 + ["unclear"] + ["sitting"] * 3 + ["lying"]
    assert evaluation.macro_f1(true, predicted) == pytest.approx(6 / 7)
    assert f1_score(true, predicted, average="macro", zero_division=0) < 0.5  # the mistake, for comparison


def test_only_a_perfect_answer_scores_one():
    assert evaluation.macro_f1(SIX, SIX) == 1
    assert evaluation.macro_f1(SIX, [*SIX[:5], "unclear"]) < 1


# --- the interval -------------------------------------------------------------------------------------------------


def clustered(people=12, windows=20, seed=0):
    """People of whom some are nearly always right and others nearly never."""
    rng = np.random.default_rng(seed)
    subjects = np.repeat([f"p{n:02d}" for n in range(people)], windows)
    true = np.tile(np.array(SIX)[np.arange(windows) % 6], people)
    right = rng.random(people * windows) < np.repeat(rng.choice([0.95, 0.2], people), windows)
    return true, np.where(right, true, np.roll(true, 1)), subjects


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_contains_the_score(seed):
    true, predicted, subjects = clustered(seed=seed)
    low, high = evaluation.bootstrap_interval(true, predicted, subjects, draws=100)
    assert low <= evaluation.macro_f1(true, predicted) <= high


def test_drawing_people_gives_a_wider_interval_than_drawing_windows():
    true, predicted, subjects = clustered()
    people = np.diff(evaluation.bootstrap_interval(true, predicted, subjects, draws=100))
    windows = np.diff(evaluation.bootstrap_interval(true, predicted, np.arange(len(true)), draws=100))
    assert people > 2 * windows


def test_one_person_gives_an_interval_of_no_width():
    true, predicted, _ = clustered(people=1)
    low, high = evaluation.bootstrap_interval(true, predicted, ["p"] * len(true), draws=50)
    assert low == high == pytest.approx(evaluation.macro_f1(true, predicted))


def test_the_interval_is_the_same_every_time_and_narrows_with_its_level():
    true, predicted, subjects = clustered()
    wide = evaluation.bootstrap_interval(true, predicted, subjects, draws=100)
    assert wide == evaluation.bootstrap_interval(true, predicted, subjects, draws=100)
    narrow = evaluation.bootstrap_interval(true, predicted, subjects, draws=100, level=0.5)
    assert wide[0] <= narrow[0] <= narrow[1] <= wide[1]


def plain_interval(true, predicted, subjects, draws, seed):
    """The same draws, each scored by scikit-learn."""
    rng, subjects = np.random.default_rng(seed), np.asarray(subjects)
    rows = [np.flatnonzero(subjects == subject) for subject in np.unique(subjects)]
    values = []
    for _ in range(draws):
        drawn = np.concatenate([rows[n] for n in rng.integers(len(rows), size=len(rows))])
        values.append(evaluation.macro_f1(np.asarray(true)[drawn], np.asarray(predicted)[drawn]))
    return np.quantile(values, [0.025, 0.975])


@settings(deadline=None, max_examples=25)
@given(pairs, st.integers(1, 6), st.integers(0, 99))
def test_counts_per_person_give_the_interval_of_scoring_every_draw(pairs, people, seed):
    """Also where a draw lacks an activity that others have, where a name occurs in answers only, and with one person.

    Activities are sorted by person, so that most draws miss some.
    """
    true, predicted = two(sorted(pairs))
    subjects = [f"p{n * people // len(pairs)}" for n in range(len(pairs))]
    expected = plain_interval(true, predicted, subjects, draws=20, seed=seed)
    assert evaluation.bootstrap_interval(true, predicted, subjects, draws=20, seed=seed) == pytest.approx(expected)


# --- reading answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activity", ACTIVITIES)
def test_the_taught_sentence_is_read_back(activity):
    sentence = questions.recognition_answer(activity)
    for text in (sentence, sentence.upper(), f"  {sentence} It keeps a rhythm."):
        assert evaluation.parse_activity(text, ACTIVITIES) == activity


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot know.",
        "Either sitting or standing.",
        "An understanding of lyings.",
        "climbing",
        "sitting or lying",
        "The person is not walking.",
        "The person isn't really walking.",
        "neither sitting nor standing",
    ],
)
def test_an_answer_that_names_none_or_several_is_unclear(text):
    assert evaluation.parse_activity(text, ACTIVITIES) == "unclear"


@pytest.mark.parametrize(
    "text",
    ["sitting, not lying", "sitting rather than standing", "He is not walking, but sitting.", "not moving, sitting"],
)
def test_what_an_answer_rules_out_does_not_hide_what_it_names(text):
    assert evaluation.parse_activity(text, ACTIVITIES) == "sitting"


def test_the_order_of_names_cannot_change_what_is_read():
    for text in ("The person is climbing stairs.", "walking or sitting", "standing still"):
        read = {evaluation.parse_activity(text, names) for names in (ACTIVITIES, ACTIVITIES[::-1], set(ACTIVITIES))}
        assert len(read) == 1


def test_the_order_of_activities_is_fixed(report):
    """Names collected in a set change their order with the interpreter's hash seed."""
    assert isinstance(ACTIVITIES, tuple)
    assert report.activities == sorted(SIX)


# --- reading scores and claims ---------------------------------------------------------------------------------------


def test_the_best_is_the_highest_score():
    assert evaluation.best([[-3.0, -1.0, -2.0], [0.0, -1.0, -9.0]], ["a", "b", "c"]) == ["b", "a"]


def test_true_answers_are_supported_and_those_of_another_window_are_not(corpus):
    """What is counted must follow from the texts and the samples."""
    said = [pair for pairs in corpus["questions"] for pair in pairs]
    rows = {}
    for shift in (0, 7):
        # The corpus' own answers, each kind moved on by so many windows.
        moved = {}
        for kind in {pair["kind"] for pair in said}:
            mine = [pair["answer"] for pair in said if pair["kind"] == kind]
            moved[kind] = iter(mine[shift:] + mine[:shift])
        texts = [[next(moved[pair["kind"]]) for pair in pairs] for pairs in corpus["questions"]]
        rows[shift] = {row["kind"]: row for row in evaluation.check_answers(corpus, texts)}
    assert sum(row["questions"] for row in rows[0].values()) == len(said)
    for kind in ("numeric", "perception", "temporal", "evidence"):
        assert rows[0][kind]["share"] == rows[0][kind]["as in the corpus"] == 1
        assert rows[7][kind]["share"] < 0.8


# --- the whole test, and its report -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def people(hapt_windows):
    """Two people to learn from, one to test on."""
    return signals.split_by_subject(hapt_windows, test=["hapt-02"], validation=[])


@pytest.fixture(scope="module")
def baselines(people):
    limu_bert = encoder.LimuBertModel(encoder.LimuBertConfig()).eval()
    train = people["train"]
    return evaluation.fit_baselines(signals.calibrate(train), train["activity"], limu_bert, seed=0)


@pytest.fixture(scope="module")
def report(tiny_llasa, people, baselines):
    return evaluation.evaluate(*tiny_llasa, people["test"], baselines, profiles.load("smoke").evaluate, "smoke")


def test_baselines_learn_from_two_people_what_helps_with_a_third(people, baselines):
    true = people["test"]["activity"]
    predicted = baselines.predict(signals.calibrate(people["test"]))
    majority = evaluation.macro_f1(true, predicted.pop("majority class"))
    assert set(predicted) == {
        "random forest, 446 statistics",
        "logistic regression, 446 statistics",
        "encoder, linear probe",
    }
    for name, said in predicted.items():
        assert evaluation.macro_f1(true, said) > majority + 0.3, name


def test_every_system_is_tested_on_the_same_windows(report, people):
    test = people["test"]
    assert report.true == list(test["activity"])
    assert report.subjects == list(test["subject"])
    assert [system.name for system in report.systems[:4]] == [SCORED, GENERATED, ZEROED, MIRRORED]
    assert [system.name for system in report.systems[4:6]] == [TURNED, NEAREST]
    assert [system.kind for system in report.systems] == 2 * ["model"] + 3 * ["control"] + 5 * ["baseline"]
    assert {len(system.predicted) for system in report.systems} == {len(test)}


def test_without_settings_the_profile_in_force_decides(tiny_llasa, people, monkeypatch):
    monkeypatch.setenv("LLASA_PROFILE", "smoke")
    assert evaluation.evaluate(*tiny_llasa, people["test"].select(range(4))).systems


def test_every_row_of_the_report_is_about_the_windows_that_its_name_says(tiny_llasa, people, monkeypatch):
    """With a model that tells from the samples whether a window is real, unplugged, mirrored or turned."""
    windows = people["test"].select(range(0, 60, 5))
    imu, names = signals.to_array(windows), sorted(set(windows["activity"]))
    level, upright = signals.level_axis(imu), signals.upright_axis(imu)
    assert level != upright
    others = turned(windows, seed=0)

    def recognise(window):
        real = [np.abs(window - one).max() < 1e-3 for one in imu]
        mirrored = [np.abs(window - signals.mirror(one, level)).max() < 1e-3 for one in imu]
        changed = [np.abs(window - one).max() < 1e-3 for one in others]
        assert any(real) or any(mirrored) or any(changed) or not window.any()
        return 0 if any(real) else 1 if any(mirrored) else 3 if any(changed) else 2

    def score_activities(model, processor, windows, activities, **options):
        assert activities == names
        return np.eye(len(activities))[[recognise(window) for window in getattr(windows, "imu", windows)]]

    def answers_and_scores(model, processor, windows, question, sentences, *rest, **options):
        scores = score_activities(model, processor, windows, names)
        return [sentences[n] for n in scores.argmax(1)], scores

    monkeypatch.setattr("llasa_lib.evaluation.run.score_activities", score_activities)
    monkeypatch.setattr("llasa_lib.evaluation.run.answers_and_scores", answers_and_scores)
    recognised = lambda *sensor: (names, score_activities(*sensor))
    monkeypatch.setattr("llasa_lib.evaluation.run.recognised", recognised)
    settings = profiles.load("smoke").evaluate.model_copy(update={"windows": None, "bootstrap": 2})
    report = evaluation.evaluate(*tiny_llasa, windows, settings=settings)
    for name, said in ((SCORED, 0), (GENERATED, 0), (ZEROED, 2), (MIRRORED, 1), (TURNED, 3), (NEAREST, 0)):
        assert report[name].predicted == [names[said]] * len(windows), name


def test_scores_follow_from_the_predictions(report):
    for system in report.systems:
        assert system.accuracy == pytest.approx(accuracy_score(report.true, system.predicted))
        assert system.macro_f1 == pytest.approx(evaluation.macro_f1(report.true, system.predicted))
        assert system.unclear == pytest.approx(system.predicted.count("unclear") / len(report.true))
        assert system.interval[0] <= system.macro_f1 <= system.interval[1]


def test_a_report_keeps_every_answer_with_its_label(report):
    assert [example["activity"] for example in report.examples] == report.true
    read = [evaluation.parse_activity(example["answer"], report.activities) for example in report.examples]
    assert read == report[GENERATED].predicted
    scores = [example["scores"] for example in report.examples]
    assert evaluation.best(scores, report.activities) == report[SCORED].predicted


def test_a_report_comes_back_as_it_was(report, tmp_path):
    path = tmp_path / "report.json"
    report.save(path)
    again = evaluation.Report.load(path)
    assert again == report
    assert str(again) == str(report)


def test_a_report_prints_a_row_per_system(report):
    lines = str(report).splitlines()
    assert lines[0] == f"{len(report.true)} windows of 1 unseen subjects, profile smoke"
    assert len(lines) == 2 + len(report.systems)
    assert all(line.startswith(system.name) for line, system in zip(lines[2:], report.systems, strict=True))


def test_a_confusion_matrix_counts_every_window_once(report):
    counts, labels = report.confusion(GENERATED)
    assert labels == [*report.activities, "unclear"]
    assert counts.shape == (6, 7)
    assert counts.sum(axis=1).tolist() == [report.true.count(name) for name in report.activities]
    hits = sum(one == other for one, other in zip(report.true, report[GENERATED].predicted, strict=True))
    assert np.trace(counts) == hits


def test_accuracy_per_person_averages_to_the_whole():
    true, predicted, subjects = clustered(people=4)
    system = System.score("guess", "model", true, predicted, subjects, draws=10)
    report = evaluation.Report("test", list(true), list(subjects), [system])
    each = report.per_subject("guess")
    assert list(each) == sorted(set(subjects))
    assert np.mean(list(each.values())) == pytest.approx(system.accuracy)


def test_a_system_that_is_not_there_is_answered_with_those_that_are(report):
    with pytest.raises(KeyError, match="random forest"):
        report["oracle"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"profile": "x"}', '{"systems": [{"name": "x"}]}'])
def test_a_broken_report_is_refused_in_one_sentence(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match="llasa evaluate"):
        evaluation.Report.load(path)


def test_a_report_is_plain_json(report, tmp_path):
    report.save(tmp_path / "report.json")
    assert set(json.loads((tmp_path / "report.json").read_text())) == {
        "profile", "true", "subjects", "systems", "examples",
    }  # fmt: skip


def test_fewer_windows_still_hold_every_activity(tiny_llasa, people):
    settings = profiles.load("smoke").evaluate.model_copy(update={"windows": 20, "bootstrap": 5})
    report = evaluation.evaluate(*tiny_llasa, people["test"], settings=settings)
    assert len(report.true) == 20
    assert set(report.true) == set(people["test"]["activity"])


def test_validation_scores_by_probability_alone(tiny_llasa, people):
    windows = people["test"].select(range(0, 60, 4))
    found = evaluation.validate(*tiny_llasa, windows, profiles.load("smoke").evaluate)
    assert set(found) == {"accuracy", "macro-F1", "windows"}
    assert found["windows"] == len(windows)
    assert 0 <= found["macro-F1"] <= 1
