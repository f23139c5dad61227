"""What users of Transformers write without a look at this library: it works, or one sentence says what to do."""

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainingArguments

from llasa_lib import signals
from llasa_lib.errors import ModelError
from llasa_lib.model import IGNORE

QUESTION = "What is the person doing?"


@pytest.fixture(scope="module")
def imu(hapt_windows):
    return signals.to_array(hapt_windows)[[0, 40, 80]]


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)


# --- the processor's call -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [True, "longest", False, None])
def test_the_usual_padding_is_what_happens_anyway(tiny_llasa, imu, padding):
    processor = tiny_llasa[1]
    asked = [QUESTION, "Why?", QUESTION]
    same(processor(imu=imu, text=asked, padding=padding, truncation=False), processor(imu=imu, text=asked))


def test_prompts_can_be_padded_to_a_length(tiny_llasa, imu):
    processor = tiny_llasa[1]
    short = processor(imu=imu[:1], text=QUESTION)["input_ids"]
    long = processor(imu=imu[:1], text=QUESTION, padding="max_length", max_length=64)
    assert long["input_ids"].shape == (1, 64)
    assert long["input_ids"][:, -short.shape[1] :].equal(short)
    assert long["attention_mask"].sum() == short.shape[1]
    assert processor(imu=imu[:1], text=QUESTION, pad_to_multiple_of=16)["input_ids"].shape[1] % 16 == 0


@pytest.mark.parametrize("option", [{"truncation": True}, {"images": [1]}, {"videos": np.zeros(3)}])
def test_an_option_that_means_nothing_here_is_refused_by_its_name(tiny_llasa, imu, option):
    with pytest.raises(ModelError, match=f"takes no {next(iter(option))}.*leave it out"):
        tiny_llasa[1](imu=imu, text=QUESTION, **option)


@pytest.mark.parametrize(
    "form",
    [
        lambda imu: torch.tensor(imu, requires_grad=True),
        lambda imu: torch.tensor(imu, dtype=torch.float64),
        lambda imu: [torch.tensor(one, requires_grad=True) for one in imu],
        lambda imu: [{"imu": torch.tensor(one)} for one in imu],
        lambda imu: imu.tolist(),
    ],
)
def test_windows_come_as_tensors_and_lists(tiny_llasa, imu, form):
    same(tiny_llasa[1](imu=form(imu), text=QUESTION), tiny_llasa[1](imu=imu, text=QUESTION))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_windows_in_half_precision_are_read(tiny_llasa, imu, dtype):
    for half in (torch.tensor(imu).to(dtype), [torch.tensor(one).to(dtype) for one in imu]):
        same(
            tiny_llasa[1](imu=half, text=QUESTION),
            tiny_llasa[1](imu=torch.tensor(imu).to(dtype).float(), text=QUESTION),
        )


@pytest.mark.parametrize("odd", [[["a"] * 6] * 120, [[1.0] * 6] * 119 + [[1.0] * 5], [[None, {}] * 3] * 120])
def test_what_is_no_table_of_numbers_is_refused(tiny_llasa, odd):
    with pytest.raises(ModelError, match="no table of numbers"):
        tiny_llasa[1](imu=np.array(odd, dtype=object), text=QUESTION)


# --- chats of parts -----------------------------------------------------------------------------------------------


def user(*content):
    return {"role": "user", "content": list(content)}


def test_a_chat_of_parts_becomes_the_prompt_of_its_question(tiny_llasa, imu):
    processor = tiny_llasa[1]
    chat = [user({"type": "imu", "imu": imu[0]}, {"type": "text", "text": QUESTION})]
    written = processor.apply_chat_template(chat, add_generation_prompt=True)
    assert written == processor.prompt([QUESTION])
    expected = processor(imu=imu[0], text=QUESTION)
    same(processor(imu=imu[0], text=written), expected)
    asked = {"add_generation_prompt": True, "tokenize": True}
    same(processor.apply_chat_template(chat, **asked, return_dict=True, return_tensors="pt"), expected)
    assert processor.apply_chat_template(chat, **asked).equal(expected["input_ids"])
    batch = processor.apply_chat_template([chat, [{"role": "user", "content": "Hello?"}]], **asked, return_dict=True)
    assert batch["imu_values"].shape[0] == 1
    assert (batch["input_ids"] == processor.imu_token_id).sum(1).tolist() == [processor.tokens_per_window, 0]


def test_a_program_says_where_its_windows_stand(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    parts = [{"type": "text", "text": "First "}, {"type": "imu", "imu": imu[0]}, {"type": "text", "text": "then "}]
    chat = [user(*parts, {"type": "imu", "imu": imu[1]}, {"type": "text", "text": "which moves more?"})]
    inputs = processor.apply_chat_template(chat, tokenize=True, return_dict=True, add_generation_prompt=True)
    assert "First <imu>" in processor.tokenizer.decode(inputs["input_ids"][0])
    assert torch.isfinite(llasa(**inputs).logits).all()


@pytest.mark.parametrize("part", [{"type": "image", "url": "x"}, {"type": "text"}, {"text": "What?"}, "What?", 3])
def test_a_part_of_another_type_is_refused(tiny_llasa, part):
    with pytest.raises(ModelError, match="A message holds a part of the type"):
        tiny_llasa[1].apply_chat_template([user(part)])


# --- generate, pack, evaluate -------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [1, 3, 12])
def test_prompt_lookup_says_what_greedy_decoding_says(tiny_llasa, imu, tokens):
    llasa, processor = tiny_llasa
    for question in (QUESTION, "user assistant user assistant user"):
        inputs = processor(imu=imu[0], text=question)
        greedy = llasa.generate(**inputs, max_new_tokens=16, do_sample=False)
        assert llasa.generate(**inputs, max_new_tokens=16, do_sample=False, prompt_lookup_num_tokens=tokens).equal(
            greedy
        )


@pytest.mark.filterwarnings("ignore")
def test_a_model_packed_to_int8_by_torch_answers_nearly_the_same(llasa, tiny_llasa, imu):
    inputs = tiny_llasa[1](imu=imu, text=QUESTION)
    packed = torch.ao.quantization.quantize_dynamic(llasa, {torch.nn.Linear}, dtype=torch.qint8)
    with torch.no_grad():
        found, expected = packed(**inputs).logits, tiny_llasa[0](**inputs).logits
    assert torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1] > 0.9


def test_a_trainers_metrics_get_logits_and_nothing_else(tiny_llasa, imu, tmp_path):
    llasa, processor = tiny_llasa
    inputs = processor(imu=imu[0], text=QUESTION)
    labels = inputs["input_ids"].clone()
    labels[:, :5] = IGNORE
    sample = {name: value[0] for name, value in {**inputs, "labels": labels}.items()}
    seen = []
    trainer = Trainer(
        llasa,
        TrainingArguments(tmp_path, report_to=[], use_cpu=True, remove_unused_columns=False, disable_tqdm=True),
        eval_dataset=[sample] * 2,
        compute_metrics=lambda given: seen.append(given.predictions) or {"seen": 1.0},
    )
    assert trainer.evaluate()["eval_seen"] == 1.0
    with torch.no_grad():
        expected = llasa(**inputs).logits.numpy()
    np.testing.assert_allclose(seen[0], np.repeat(expected, 2, 0), atol=1e-5)
