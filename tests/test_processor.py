"""Several windows in one prompt: each stands in its own seat."""

import pytest
import torch

from llasa_lib import signals
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
