"""Several windows in one prompt: each stands in its own seat. Measured values: which questions get them."""

import copy

import pytest
import torch

from llasa_lib import captions, questions, signals
from llasa_lib.errors import ModelError

COMPARE = "Which one moves more?"


@pytest.fixture(scope="module")
def imu(hapt_windows):
    array = signals.to_array(hapt_windows)
    return array[:: len(array) // 4][:4]


def test_each_inner_list_becomes_one_prompt_with_its_windows_in_front(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    inputs = processor(imu=[[imu[0], imu[1]], [imu[2]], []], text=COMPARE)
    seats = (inputs["input_ids"] == processor.imu_token_id).sum(1) // llasa.config.tokens_per_window
    assert seats.tolist() == [2, 1, 0]
    torch.testing.assert_close(inputs["imu_values"], processor.feature_extractor(imu[:3])["imu_values"])


def test_swapping_two_windows_swaps_what_stands_in_their_seats(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    seen = []
    for pair in ([imu[0], imu[1]], [imu[1], imu[0]]):
        inputs = processor(imu=[pair], text=COMPARE)
        handle = llasa.model.language_model.register_forward_pre_hook(
            lambda module, args, kwargs: seen.append(kwargs["inputs_embeds"]), with_kwargs=True
        )
        with torch.no_grad():
            llasa(**inputs)
        handle.remove()
    seats = [embeds[inputs["input_ids"] == processor.imu_token_id].chunk(2) for embeds in seen]
    torch.testing.assert_close(seats[0][0], seats[1][1])
    torch.testing.assert_close(seats[0][1], seats[1][0])
    assert not torch.allclose(seats[0][0], seats[0][1])


def test_prompts_of_different_length_are_answered_as_one_by_one(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    groups = [[imu[0], imu[1], imu[2]], [imu[3]]]
    batch = processor(imu=groups, text=COMPARE)
    together = processor.answers(llasa.generate(**batch, max_new_tokens=6, do_sample=False), batch)
    for group, answer in zip(groups, together, strict=True):
        alone = processor(imu=[group], text=COMPARE)
        assert processor.answers(llasa.generate(**alone, max_new_tokens=6, do_sample=False), alone) == [answer]


def test_counts_that_do_not_match_are_told_text_by_text(tiny_llasa, imu):
    processor = tiny_llasa[1]
    texts = [processor.prompt([COMPARE], windows=2), processor.prompt([COMPARE], windows=1)]
    with pytest.raises(ModelError, match=r"text 0 holds 2 <imu> for 1 window\(s\); text 1 holds 1 <imu> for 2 window"):
        processor(imu=[[imu[0]], [imu[1], imu[2]]], text=texts)
    with pytest.raises(ModelError, match=r"1 text\(s\) for 2 lists of windows"):
        processor(imu=[[imu[0]], [imu[1]]], text=[COMPARE])


def test_a_window_written_as_lists_of_numbers_is_still_one_window(tiny_llasa, imu):
    processor = tiny_llasa[1]
    torch.testing.assert_close(
        processor(imu=imu[0].tolist(), text=COMPARE)["imu_values"], processor(imu=imu[0], text=COMPARE)["imu_values"]
    )


def test_a_conversation_about_two_windows_begins_with_their_prompt(tiny_llasa, imu):
    processor = tiny_llasa[1]
    prompt = processor(imu=[[imu[0], imu[1]]], text=COMPARE)["input_ids"][0].tolist()
    taught = processor.conversation([(COMPARE, "The first one.")], windows=2)
    assert taught["input_ids"][: len(prompt)] == prompt


# --- measured values ------------------------------------------------------------------------------------------------


@pytest.fixture
def measuring(tiny_llasa):
    """The processor of a model that was tuned with measured values."""
    processor = copy.deepcopy(tiny_llasa[1])
    processor.measurements = True
    return processor


def told(processor, imu, text, **options):
    """Which of the prompts hold the line of values, each of its own window."""
    prompts = processor.tokenizer.batch_decode(processor(imu=imu, text=text, **options)["input_ids"])
    lines = [f"Measured: {captions.measurement_line(facts)}.\n" for facts in captions.measure_all(imu)]
    assert all(("Measured" in prompt) == (line in prompt) for prompt, line in zip(prompts, lines, strict=True))
    return ["Measured" in prompt for prompt in prompts]


@pytest.mark.parametrize("question", questions.RECOGNITION_QUESTIONS)
def test_the_activity_is_told_from_the_sensor_alone_however_one_asks(measuring, imu, question):
    assert told(measuring, imu[:2], question) == [False, False]
    assert told(measuring, imu[:2], [COMPARE, question]) == [True, False]


def test_any_other_question_of_a_model_tuned_with_measured_values_gets_them(measuring, tiny_llasa, imu):
    assert told(measuring, imu[:2], COMPARE) == [True, True]
    assert told(tiny_llasa[1], imu[:2], COMPARE) == [False, False]  # a model that was not


def test_who_says_whether_to_measure_is_obeyed(measuring, tiny_llasa, imu):
    asked = [COMPARE, questions.RECOGNITION_QUESTION]
    assert told(measuring, imu[:2], asked, measurements=False) == [False, False]
    assert told(tiny_llasa[1], imu[:2], asked, measurements=True) == [True, True]


def test_a_finished_prompt_and_one_about_several_windows_stay_as_they_are(measuring, imu):
    assert told(measuring, imu[:1], measuring.prompt([COMPARE])) == [False]
    ids = measuring(imu=[[imu[0], imu[1]]], text=COMPARE)["input_ids"]
    assert "Measured" not in measuring.tokenizer.decode(ids[0])
    assert "Measured" not in measuring.tokenizer.decode(measuring(text=COMPARE)["input_ids"][0])
    with pytest.raises(ModelError, match="one window per prompt"):
        measuring(imu=[[imu[0], imu[1]]], text=COMPARE, measurements=True)
