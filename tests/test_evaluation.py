"""Promises of ``llasa_lib.evaluation``: scores that mean what they say, on the same windows for every system."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from llasa_lib import encoder, evaluation, profiles, questions, signals
from llasa_lib.errors import ArtifactError, ModelError
from llasa_lib.evaluation import System, answering
from llasa_lib.evaluation.run import GENERATED, MIRRORED, SCORED, ZEROED
from llasa_lib.recordings import ACTIVITIES

SIX = list(ACTIVITIES[:6])
QUESTION = questions.RECOGNITION_QUESTION
SENTENCES = [questions.recognition_answer(activity) for activity in SIX]
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


# --- scoring answers ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def imu(hapt_windows):
    return signals.to_array(hapt_windows.select(range(0, 15, 3)))


def one_pass(model, processor, window, sentence):
    """Log-probability by one full pass over prompt and answer together."""
    conversation = processor.conversation([(QUESTION, sentence)])
    ids, labels = (torch.tensor([conversation[name]]) for name in ("input_ids", "labels"))
    with torch.inference_mode():
        logits = model(input_ids=ids, **processor.feature_extractor(window)).logits
    steps, taught = logits[0, :-1].log_softmax(-1), labels[0, 1:] != -100
    return steps[taught].gather(1, labels[0, 1:][taught][:, None]).sum().item()


def test_a_shared_prompt_gives_the_scores_of_separate_passes(tiny_llasa, imu):
    model, processor = tiny_llasa
    scores = evaluation.score_labels(model, processor, imu[:2], QUESTION, SENTENCES, progress=False)
    apart = [[one_pass(model, processor, window, sentence) for sentence in SENTENCES] for window in imu[:2]]
    np.testing.assert_allclose(scores, apart, atol=1e-4)


def test_scores_do_not_depend_on_the_batch(tiny_llasa, imu):
    model, processor = tiny_llasa
    score = lambda size: evaluation.score_labels(model, processor, imu, QUESTION, SENTENCES, size, progress=False)
    assert score(1).shape == (len(imu), 6)
    np.testing.assert_allclose(score(1), score(2), atol=1e-4)
    np.testing.assert_allclose(score(1), score(16), atol=1e-4)


def test_a_sentence_scores_the_same_whatever_stands_beside_it(tiny_llasa, imu):
    model, processor = tiny_llasa
    score = lambda sentences: evaluation.score_labels(model, processor, imu[:2], QUESTION, sentences, progress=False)
    together = score(["Yes.", *SENTENCES])
    np.testing.assert_allclose(score(["Yes."]), together[:, :1], atol=1e-4)
    np.testing.assert_allclose(score(SENTENCES[::-1]), together[:, :0:-1], atol=1e-4)


@pytest.mark.parametrize(
    "sentences",
    [["Yes."], ["Yes.", "No."], ["It is so.", "It is so."], ["It", "It is", "It is not the same at all."]],
    ids=["one", "unlike", "twice", "inside"],
)
def test_scores_are_those_of_separate_passes_however_the_sentences_overlap(tiny_llasa, imu, sentences):
    model, processor = tiny_llasa
    scores = evaluation.score_labels(model, processor, imu[:2], QUESTION, sentences, progress=False)
    apart = [[one_pass(model, processor, window, sentence) for sentence in sentences] for window in imu[:2]]
    np.testing.assert_allclose(scores, apart, atol=1e-4)


def test_answers_that_have_ended_are_not_written_on_and_the_others_are(llasa, tiny_llasa, imu, monkeypatch):
    model, processor = llasa, tiny_llasa[1]
    torch.manual_seed(0)
    model.lm_head = torch.nn.Linear(model.config.text_config.hidden_size, len(processor.tokenizer), bias=False)
    ask = lambda windows: evaluation.answers(model, processor, windows, QUESTION, max_new_tokens=20, progress=False)
    inputs = processor(imu=imu, text=QUESTION)
    spoken = model.generate(**inputs, max_new_tokens=20, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    # One answer ends early, another late, where both say something that no other answer says before.
    monkeypatch.setattr(model.generation_config, "eos_token_id", [int(spoken[0, 2]), int(spoken[1, 14])])
    apart, sizes, generate = [ask(one[None])[0] for one in imu], [], type(model).generate

    def count(self, **given):
        sizes.append(len(given["input_ids"]))
        return generate(self, **given)

    monkeypatch.setattr(type(model), "generate", count)
    assert ask(imu) == apart
    assert sizes[0] == len(imu)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < len(imu)


@pytest.mark.parametrize("notes", [False, True])
def test_questions_about_one_window_are_answered_as_if_asked_one_by_one(llasa, tiny_llasa, imu, notes):
    model, processor = llasa, tiny_llasa[1]
    # A random model whose head is its own embedding repeats the last token for ever: nothing could go wrong.
    torch.manual_seed(0)
    model.lm_head = torch.nn.Linear(model.config.text_config.hidden_size, len(processor.tokenizer), bias=False)
    asked = [QUESTION, "Why?", "How many impacts are there, and when was the largest of them?", QUESTION]
    together = evaluation.answers_about(model, processor, imu[0], asked, max_new_tokens=8, notes=notes)
    options = {"max_new_tokens": 8, "progress": False, "notes": notes}
    assert together == [evaluation.answers(model, processor, imu[:1], one, **options)[0] for one in asked]
    assert all(together)
    assert evaluation.answers_about(model, processor, imu[0], [], max_new_tokens=8) == []


def test_nothing_to_score_is_refused(tiny_llasa, imu):
    with pytest.raises(ModelError, match="no sentence"):
        evaluation.score_labels(*tiny_llasa, imu, QUESTION, [])


def test_answers_come_one_per_window_in_order(tiny_llasa, imu):
    model, processor = tiny_llasa
    ask = lambda windows, size: evaluation.answers(model, processor, windows, QUESTION, size, 4, progress=False)
    assert len(ask(imu, 2)) == len(imu)
    assert ask(imu, 2) == ask(imu, 5)
    assert ask(imu[::-1], 5) == ask(imu, 5)[::-1]


def test_every_window_may_have_its_own_question(tiny_llasa, imu):
    model, processor = tiny_llasa
    options = {"max_new_tokens": 4, "progress": False}
    asked = [QUESTION, "Why?"]
    apart = [evaluation.answers(model, processor, imu[n : n + 1], asked[n], **options)[0] for n in (0, 1)]
    assert evaluation.answers(model, processor, imu[:2], asked, **options) == apart
    with pytest.raises(ModelError, match="2 questions for 3 windows"):
        evaluation.answers(model, processor, imu[:3], asked, **options)


def test_true_answers_are_supported_and_those_of_another_window_are_not(tiny_llasa, corpus, monkeypatch):
    """The model is left out: what is counted must follow from the texts and the samples."""
    said = [pair for pairs in corpus["questions"] for pair in pairs]

    def recite(shift):
        def answers(model, processor, windows, asked, *rest, **options):
            mine = [pair for pair in said if pair["kind"] == kinds[0]]
            kinds.pop(0)
            return [mine[(n + shift) % len(mine)]["answer"] for n in range(len(mine))]

        kinds = list(dict.fromkeys(pair["kind"] for pair in said))
        return answers

    rows = {}
    for shift in (0, 7):
        monkeypatch.setattr("llasa_lib.evaluation.claims.answers", recite(shift))
        rows[shift] = {row["kind"]: row for row in evaluation.check_answers(*tiny_llasa, corpus)}
    assert sum(row["questions"] for row in rows[0].values()) == len(said)
    for kind in ("numeric", "perception", "temporal", "evidence"):
        assert rows[0][kind]["share"] == rows[0][kind]["as in the corpus"] == 1
        assert rows[7][kind]["share"] < 0.8


def test_an_unplugged_sensor_is_refused_unless_it_is_a_control(tiny_llasa, imu):
    model, processor = tiny_llasa
    nothing = evaluation.zeroed(imu[:1])
    assert nothing.shape == imu[:1].shape
    assert not nothing.any()
    with pytest.raises(ModelError, match="gravity"):
        evaluation.answers(model, processor, nothing, QUESTION)
    assert len(evaluation.answers(model, processor, nothing, QUESTION, max_new_tokens=2, check_units=False)) == 1
    assert evaluation.score_labels(model, processor, nothing, QUESTION, ["Yes."], check_units=False).shape == (1, 1)


def test_the_best_is_the_highest_score():
    assert answering.best([[-3.0, -1.0, -2.0], [0.0, -1.0, -9.0]], ["a", "b", "c"]) == ["b", "a"]


# --- the whole test, and its report -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def people(hapt_windows):
    """Two people to learn from, one to test on."""
    return signals.split_by_subject(hapt_windows, test=["hapt-02"], validation=[])


@pytest.fixture(scope="module")
def baselines(people):
    limu_bert = encoder.LimuBertModel(encoder.LimuBertConfig()).eval()
    train = people["train"]
    return evaluation.fit_baselines(signals.to_array(train), train["activity"], limu_bert, seed=0)


@pytest.fixture(scope="module")
def report(tiny_llasa, people, baselines):
    return evaluation.evaluate(*tiny_llasa, people["test"], baselines, profiles.load("smoke").evaluate, "smoke")


def test_baselines_learn_from_two_people_what_helps_with_a_third(people, baselines):
    imu, true = signals.to_array(people["test"]), people["test"]["activity"]
    predicted = baselines.predict(imu)
    majority = evaluation.macro_f1(true, predicted.pop("majority class"))
    assert set(predicted) == {
        "random forest, 132 statistics",
        "logistic regression, 132 statistics",
        "encoder, linear probe",
    }
    for name, said in predicted.items():
        assert evaluation.macro_f1(true, said) > majority + 0.3, name


def test_every_system_is_tested_on_the_same_windows(report, people):
    test = people["test"]
    assert report.true == list(test["activity"])
    assert report.subjects == list(test["subject"])
    assert [system.name for system in report.systems[:4]] == [SCORED, GENERATED, ZEROED, MIRRORED]
    assert [system.kind for system in report.systems] == ["model", "model", "control", "control"] + 4 * ["baseline"]
    assert {len(system.predicted) for system in report.systems} == {len(test)}


def test_without_settings_the_profile_in_force_decides(tiny_llasa, people, monkeypatch):
    monkeypatch.setenv("LLASA_PROFILE", "smoke")
    assert evaluation.evaluate(*tiny_llasa, people["test"].select(range(4))).systems


def test_an_unplugged_sensor_gets_one_answer_for_all(report):
    assert len(set(report[ZEROED].predicted)) == 1


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
    assert [row["system"] for row in report.rows()] == [system.name for system in report.systems]


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
