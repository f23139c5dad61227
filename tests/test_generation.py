"""Promises of ``model.generation``: batches, shared beginnings and one reading change no answer and no score."""

import numpy as np
import pytest
import torch

from llasa_lib import evaluation, questions, signals
from llasa_lib.errors import ModelError
from llasa_lib.model import answers, answers_and_scores, score_activities, score_sentences
from llasa_lib.recordings import ACTIVITIES

SIX = list(ACTIVITIES[:6])
QUESTION = questions.RECOGNITION_QUESTION
SENTENCES = [questions.recognition_answer(activity) for activity in SIX]


@pytest.fixture(scope="module")
def imu(hapt_windows):
    return signals.to_array(hapt_windows.select(np.linspace(0, len(hapt_windows) - 1, 5).astype(int)))


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
    scores = score_sentences(model, processor, imu[:2], QUESTION, SENTENCES)
    apart = [[one_pass(model, processor, window, sentence) for sentence in SENTENCES] for window in imu[:2]]
    np.testing.assert_allclose(scores, apart, atol=1e-4)


def test_scores_do_not_depend_on_the_batch(tiny_llasa, imu):
    model, processor = tiny_llasa
    score = lambda size: score_sentences(model, processor, imu, QUESTION, SENTENCES, size)
    assert score(1).shape == (len(imu), 6)
    np.testing.assert_allclose(score(1), score(2), atol=1e-4)
    np.testing.assert_allclose(score(1), score(16), atol=1e-4)


def test_a_sentence_scores_the_same_whatever_stands_beside_it(tiny_llasa, imu):
    model, processor = tiny_llasa
    score = lambda sentences: score_sentences(model, processor, imu[:2], QUESTION, sentences)
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
    scores = score_sentences(model, processor, imu[:2], QUESTION, sentences)
    apart = [[one_pass(model, processor, window, sentence) for sentence in sentences] for window in imu[:2]]
    np.testing.assert_allclose(scores, apart, atol=1e-4)


@pytest.fixture
def talkative(llasa, tiny_llasa):
    """A random model whose head is its own embedding repeats the last token for ever: nothing could go wrong."""
    torch.manual_seed(0)
    width, words = llasa.config.text_config.hidden_size, len(tiny_llasa[1].tokenizer)
    llasa.lm_head = torch.nn.Linear(width, words, bias=False)
    return llasa


@pytest.mark.parametrize("sentences", [SENTENCES, ["Yes."], ["Yes.", "No."]], ids=["activities", "one", "short"])
def test_one_reading_gives_the_answers_and_the_scores_of_two(talkative, tiny_llasa, imu, sentences, monkeypatch):
    processor, read = tiny_llasa[1], []
    expected = (
        answers(talkative, processor, imu, QUESTION, 9),
        score_sentences(talkative, processor, imu, QUESTION, sentences),
    )
    features = type(talkative.model).get_imu_features
    monkeypatch.setattr(
        type(talkative.model),
        "get_imu_features",
        lambda *given, **named: (read.append(1), features(*given, **named))[1],
    )
    for size in (2, 16):
        read.clear()
        texts, scores = answers_and_scores(talkative, processor, imu, QUESTION, sentences, 9, batch_size=size)
        assert texts == expected[0]
        assert len(set(texts)) > 1
        np.testing.assert_allclose(scores, expected[1], atol=1e-4)
        assert len(read) == -(-len(imu) // size)  # one reading a batch


def test_answers_that_have_ended_are_not_written_on_and_the_others_are(talkative, tiny_llasa, imu, monkeypatch):
    model, processor = talkative, tiny_llasa[1]
    ask = lambda windows: answers(model, processor, windows, QUESTION, max_new_tokens=20)
    inputs = processor(imu=imu, text=QUESTION)
    spoken = model.generate(**inputs, max_new_tokens=20, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    # One answer ends early, another late, where both say something that no other answer says: whatever the model says,
    # and that depends on how a release of Transformers draws its weights.
    own = lambda start, stop: [
        (row, token)
        for row, said in enumerate(spoken.tolist())
        for token in said[start:stop]
        if (spoken == token).any(1).sum() == 1 and token not in said[:start]
    ]
    early, late = next((one, other) for one in own(1, 9) for other in own(9, 19) if one[0] != other[0])
    monkeypatch.setattr(model.generation_config, "eos_token_id", [early[1], late[1]])
    apart, sizes, generate = [ask(one[None])[0] for one in imu], [], type(model).generate

    def count(self, **given):
        sizes.append(len(given["input_ids"]))
        return generate(self, **given)

    monkeypatch.setattr(type(model), "generate", count)
    assert ask(imu) == apart
    assert sizes[0] == len(imu)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < len(imu)


@pytest.mark.parametrize("measurements", [False, True])
def test_questions_about_each_window_are_answered_as_if_asked_one_by_one(talkative, tiny_llasa, imu, measurements):
    processor, options = tiny_llasa[1], {"max_new_tokens": 8, "measurements": measurements}
    asked = [
        [QUESTION, "Why?", "How many impacts are there, and when was the largest of them?", QUESTION],
        [],
        ["Why?"],
        ["Which axis carries gravity?", "How fast is the step rhythm?"],
    ]
    apart = [
        [answers(talkative, processor, window[None], one, **options)[0] for one in some]
        for window, some in zip(imu, asked, strict=False)
    ]
    assert all(answer for some in apart for answer in some)
    for size in (1, 4, 32):
        assert answers(talkative, processor, imu[:4], asked, batch_size=size, **options) == apart
    assert answers(talkative, processor, imu[:1], [[]]) == [[]]
    assert answers(talkative, processor, imu[:0], QUESTION) == []


def test_nothing_to_score_is_refused(tiny_llasa, imu):
    with pytest.raises(ModelError, match="no sentence"):
        score_sentences(*tiny_llasa, imu, QUESTION, [])


def test_answers_come_one_per_window_in_order(tiny_llasa, imu):
    model, processor = tiny_llasa
    ask = lambda windows, size: answers(model, processor, windows, QUESTION, 4, size)
    assert len(ask(imu, 2)) == len(imu)
    assert ask(imu, 2) == ask(imu, 5)
    assert ask(imu[::-1], 5) == ask(imu, 5)[::-1]


def test_every_window_may_have_its_own_question(tiny_llasa, imu):
    model, processor = tiny_llasa
    options = {"max_new_tokens": 4}
    asked = [QUESTION, "Why?"]
    apart = [answers(model, processor, imu[n : n + 1], asked[n], **options)[0] for n in (0, 1)]
    assert answers(model, processor, imu[:2], asked, **options) == apart
    with pytest.raises(ModelError, match="2 questions for 3 windows"):
        answers(model, processor, imu[:3], asked, **options)


def test_an_unplugged_sensor_is_refused_unless_it_is_a_control(tiny_llasa, imu):
    model, processor = tiny_llasa
    nothing = evaluation.zeroed(imu[:1])
    assert nothing.shape == imu[:1].shape
    assert not nothing.any()
    with pytest.raises(ModelError, match="gravity"):
        answers(model, processor, nothing, QUESTION)
    assert len(answers(model, processor, nothing, QUESTION, max_new_tokens=2, check_units=False)) == 1
    assert score_activities(model, processor, nothing, SIX, check_units=False).shape == (1, 6)
