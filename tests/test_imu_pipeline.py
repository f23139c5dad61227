"""transformers.pipeline("imu-text-to-text"): loaded from a folder, it answers what model and processor answer."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import pipeline

from llasa_lib import files, model, profiles, questions, recordings, signals, tuning
from llasa_lib.errors import ModelError
from llasa_lib.model import LlasaForConditionalGeneration, bases

QUESTION = questions.RECOGNITION_QUESTION
OTHER = "How intense is the motion, and how can one tell?"
SHORT = {"max_new_tokens": 5, "do_sample": False}


@pytest.fixture(scope="module")
def imu(hapt_windows):
    return signals.to_array(hapt_windows)[[0, 40, 80]]


@pytest.fixture(scope="module")
def folder(tiny_llasa, tmp_path_factory):
    target = tmp_path_factory.mktemp("pipe") / "align"
    model.save(*tiny_llasa, target)
    return target


@pytest.fixture(scope="module")
def ask(folder):
    return pipeline("imu-text-to-text", model=str(folder), device="cpu")


def by_hand(tiny_llasa, imu, text, **options):
    llasa, processor = tiny_llasa
    inputs = processor(imu=imu, text=text)
    return processor.answers(llasa.generate(**inputs, **{**SHORT, **options}), inputs)


def records(text, answers):
    return [{"input_text": text, "generated_text": answer} for answer in answers]


def test_a_folder_becomes_a_pipeline_by_its_task(ask):
    assert isinstance(ask, model.ImuTextToTextPipeline)
    assert isinstance(ask.processor, model.LlasaProcessor)
    assert isinstance(ask.model, model.LlasaForConditionalGeneration)


def test_one_window_and_one_question_give_one_record(ask, tiny_llasa, imu):
    expected = records(QUESTION, by_hand(tiny_llasa, imu[0], QUESTION))
    assert ask(imu[0], QUESTION, **SHORT) == expected
    assert ask({"imu": imu[0], "text": QUESTION}, **SHORT) == expected
    assert ask(imu[0].tolist(), QUESTION, **SHORT) == expected


@pytest.fixture
def path(imu, tmp_path):
    """The first window as a file."""
    window = np.vstack([imu[0], imu[0][-1:]])
    table = np.column_stack([np.arange(len(window)) / 20.0, window])
    names = "time,acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z"
    np.savetxt(tmp_path / "own.csv", table, delimiter=",", header=names, comments="")
    return tmp_path / "own.csv"


def test_a_file_is_read_as_the_processor_reads_it(ask, tiny_llasa, path):
    assert recordings.read(path).acceleration.shape[1] == 3
    for form in (path, str(path)):
        assert ask(form, QUESTION, **SHORT) == records(QUESTION, by_hand(tiny_llasa, str(path), QUESTION))


def test_a_file_and_an_array_may_stand_in_one_group(ask, tiny_llasa, imu, path):
    llasa, processor = tiny_llasa
    inputs = processor(imu=[[path, imu[1]], [imu[2]]], text=[OTHER, OTHER])
    expected = processor.answers(llasa.generate(**inputs, **SHORT), inputs)
    assert ask([[path, imu[1]], [imu[2]]], OTHER, **SHORT) == [records(OTHER, [answer]) for answer in expected]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_every_window_of_a_list_gets_a_list_of_records(ask, tiny_llasa, imu, hapt_windows, batch_size):
    expected = [records(OTHER, by_hand(tiny_llasa, window, OTHER)) for window in imu]
    options = {**SHORT, "batch_size": batch_size}
    assert ask(imu, OTHER, **options) == ask(list(imu), OTHER, **options) == expected
    assert ask([{"imu": window, "text": OTHER} for window in imu], **options) == expected
    assert ask(hapt_windows.select([0, 40, 80]), OTHER, **options) == expected


def test_several_questions_about_one_window_are_answered_one_by_one(ask, tiny_llasa, imu):
    found = ask(imu[0], [QUESTION, OTHER], **SHORT, batch_size=2)
    assert found == [records(text, by_hand(tiny_llasa, imu[0], text)) for text in (QUESTION, OTHER)]


def test_windows_and_questions_of_equal_number_are_pairs(ask, tiny_llasa, imu):
    found = ask(imu[:2], [QUESTION, OTHER], **SHORT)
    pairs = zip(imu[:2], (QUESTION, OTHER), strict=True)
    assert found == [records(text, by_hand(tiny_llasa, window, text)) for window, text in pairs]


def test_a_batch_may_ask_about_two_windows_one_and_none(ask, tiny_llasa, imu):
    groups = [[imu[0], imu[1]], [imu[2]], None]
    found = ask([{"imu": group, "text": OTHER} for group in groups], **SHORT, batch_size=3)
    for group, record in zip(groups, found, strict=True):
        assert record == records(OTHER, by_hand(tiny_llasa, [group] if group else None, OTHER))
    assert ask(text=OTHER, **SHORT) == found[2]


def test_every_returned_sequence_is_a_record(ask, tiny_llasa, imu):
    found = ask(imu[0], OTHER, max_new_tokens=5, num_beams=3, num_return_sequences=2)
    assert found == records(OTHER, by_hand(tiny_llasa, imu[0], OTHER, num_beams=3, num_return_sequences=2))
    assert [len(one) for one in ask(imu[:2], OTHER, **SHORT, num_beams=2, num_return_sequences=2, batch_size=2)] == [
        2,
        2,
    ]


def test_the_question_can_be_put_in_front_of_the_answer(ask, imu):
    short, full = (ask(imu[0], OTHER, **SHORT, return_full_text=full)[0]["generated_text"] for full in (False, True))
    assert full == f"{OTHER} {short}"


def test_a_model_tuned_with_measured_values_gets_them_except_for_the_activity(ask, imu):
    ask.processor.measurements = True
    try:
        read = {
            text: ask.tokenizer.decode(ask.preprocess(ask._sample(imu[0], text))["input_ids"][0])
            for text in (QUESTION, OTHER)
        }
    finally:
        ask.processor.measurements = False
    assert "Measured" in read[OTHER]
    assert "Measured" not in read[QUESTION]


def test_the_folder_of_an_adapter_becomes_a_pipeline_from_wherever_it_is_asked_for(
    folder, imu, monkeypatch, tmp_path_factory
):
    llasa, processor = model.load(folder, dtype=torch.float32)
    processor.measurements = True
    tuned = tuning.add_adapter(llasa, profiles.load("smoke").tune).eval()
    torch.manual_seed(0)
    for name, value in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value)
    model.save(tuned, processor, folder.parent / "tune")
    inputs = processor(imu=imu[0], text=OTHER)
    expected = processor.answers(tuned.generate(**inputs, **SHORT), inputs)
    adapter, named = folder.parent / "tune", files.read_json(folder.parent / "tune" / "adapter_config.json", dict)
    assert not Path(named["base_model_name_or_path"]).is_absolute()
    for working, given in ((adapter, adapter), (tmp_path_factory.mktemp("far"), adapter), (folder.parent, "tune")):
        monkeypatch.chdir(working)
        found = pipeline("imu-text-to-text", model=str(given), device="cpu")
        assert found.processor.measurements == processor.measurements
        assert found(imu[0], OTHER, **SHORT) == records(OTHER, expected)
        again = LlasaForConditionalGeneration.from_pretrained(given).eval()
        assert processor.answers(again.generate(**inputs, **SHORT), inputs) == expected
    (adapter / bases.NOTE).write_text('{"fingerprint": "of another"}')
    with pytest.raises(ModelError, match="trained on another model"):
        LlasaForConditionalGeneration.from_pretrained(adapter)


def test_a_saved_pipeline_comes_back(ask, imu, tmp_path):
    ask.save_pretrained(tmp_path / "saved")
    again = pipeline("imu-text-to-text", model=str(tmp_path / "saved"), device="cpu")
    assert again(imu[0], OTHER, **SHORT) == ask(imu[0], OTHER, **SHORT)


@pytest.mark.parametrize(
    ("given", "text", "message"),
    [
        (slice(0, 1), None, "There is no question"),
        (slice(0, 1), "  ", "There is no question"),
        (slice(0, 3), ["a", "b"], "2 questions for 3 windows. Give one each, or one for all"),
        (slice(0, 0), "What?", "nothing to ask about"),
        (slice(0, 1), [], "0 questions for"),
    ],
)
def test_questions_and_windows_that_do_not_match_are_told(ask, imu, given, text, message):
    with pytest.raises(ModelError, match=message):
        ask(imu[given], text)


def test_a_window_in_g_is_refused_through_the_pipeline_as_well(ask, imu):
    with pytest.raises(ModelError, match=r"in g, multiply by 9\.80665"):
        ask(imu[0] / np.array([9.8] * 3 + [1] * 3), QUESTION)
