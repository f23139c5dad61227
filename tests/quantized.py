"""A language model in four bits (QLoRA): what is packed, what is not, and that both come back from a folder.

Run by test_quantized.py, in a process of its own that finds bitsandbytes.
"""

import bitsandbytes
import pytest
import torch
from transformers import BitsAndBytesConfig

from llasa_lib import language_models, model, profiles, questions, signals, training, tuning
from llasa_lib.encoder import LimuBertConfig, LimuBertModel
from llasa_lib.errors import ModelError

SMOKE = profiles.load("smoke")
PROBE = "bitsandbytes.nn.modules.has_avx512bf16"


@pytest.fixture(scope="module")
def text(small_words):
    """A profile's language model: a small Llama in a folder, to be read in four bits."""
    return SMOKE.language_model.model_copy(update={"name": str(small_words), "quantize": True})


def build(text, corpus):
    encoder = LimuBertModel(LimuBertConfig(**SMOKE.encoder.network.model_dump())).eval()
    return model.build(encoder, signals.to_array(corpus), text, 24, 4, True)


@pytest.fixture(scope="module", params=[False, True], ids=["any CPU", "CPU with avx512_bf16"])
def packed(request, text, corpus, tmp_path_factory):
    """A whole model over a Llama in four bits, aligned for a few steps; its processor, and where it was saved."""
    folder = tmp_path_factory.mktemp("packed")
    with pytest.MonkeyPatch.context() as cpu:
        cpu.setattr(PROBE, lambda: request.param)
        torch.manual_seed(0)
        llasa, processor = build(text, corpus)
        model.align(llasa, processor, corpus, SMOKE.align, folder / "work", seed=0)
        model.save(llasa, processor, folder / "align")
        yield llasa.eval(), processor, folder


@pytest.fixture
def inputs(packed, hapt_windows):
    return packed[1](imu=signals.to_array(hapt_windows)[:2], text=questions.RECOGNITION_QUESTION)


def linear_layers(network):
    return {name: type(part) for name, part in network.named_modules() if isinstance(part, torch.nn.Linear)}


def test_the_layers_of_the_language_model_are_packed_and_nothing_else(packed):
    kinds = linear_layers(packed[0])
    inside = {name for name in kinds if name.startswith("model.language_model.layers.")}
    assert len(inside) == 14
    for name, kind in kinds.items():
        assert (kind is bitsandbytes.nn.Linear4bit) == (name in inside), name


def test_a_layer_in_four_bits_passes_gradients_on_after_it_answered(packed, inputs):
    with torch.no_grad():
        packed[0](**inputs)
    layer = packed[0].model.language_model.layers[0].mlp.up_proj
    given = torch.zeros(1, layer.in_features, requires_grad=True)
    layer.train()(given).sum().backward()
    layer.eval()
    assert given.grad.abs().sum() > 0


@torch.no_grad()
def test_what_was_saved_in_four_bits_comes_back_the_same(packed, inputs):
    llasa, _, folder = packed
    loaded, _ = model.load(folder / "align")
    assert linear_layers(loaded) == linear_layers(llasa)
    assert torch.equal(loaded(**inputs).logits, llasa(**inputs).logits)


def test_tuning_leaves_the_packed_weights_alone_and_its_adapter_comes_back(packed, corpus, inputs, tmp_path):
    loaded, processor = model.load(packed[2] / "align")
    weights = {name: p.clone() for name, p in loaded.named_parameters() if p.dtype == torch.uint8}
    tuned, history = tuning.tune(loaded, processor, corpus, SMOKE.tune, tmp_path / "work", seed=0)
    assert history[-1]["loss"] > 0
    after = {name: p for name, p in tuned.get_base_model().named_parameters() if p.dtype == torch.uint8}
    assert len(after) == len(weights) == 14
    for (name, before), value in zip(weights.items(), after.values(), strict=True):
        assert torch.equal(before, value), name
    assert training.count(tuned)[0] > 0
    model.save(tuned, processor, tmp_path / "tune")
    again, _ = model.load(tmp_path / "tune")
    with torch.no_grad():
        own = tuned.eval()(**inputs).logits
        assert torch.equal(again(**inputs).logits, own)
        assert not torch.equal(packed[0](**inputs).logits, own)
    assert again.generate(**inputs, max_new_tokens=2, do_sample=False).shape[1] == inputs["input_ids"].shape[1] + 2


def test_weights_in_four_bits_that_cannot_be_read_are_named_so(text, corpus, monkeypatch):
    monkeypatch.setattr(PROBE, lambda: True)
    monkeypatch.setattr(language_models, "keep_packing", lambda one: one)
    with pytest.raises(ModelError, match=r"LlamaForCausalLM, quantized, cannot read .* Try it with quantize: false"):
        build(text, corpus)


@pytest.mark.parametrize("bits", ["load_in_4bit", "load_in_8bit"])
@pytest.mark.parametrize("as_dict", [False, True])
def test_a_plain_folder_is_packed_as_it_is_read(tiny_llasa, hapt_windows, tmp_path, bits, as_dict):
    llasa, processor = tiny_llasa
    model.save(llasa, processor, tmp_path / "plain")
    config = {bits: True} if as_dict else BitsAndBytesConfig(**{bits: True})
    packed = model.LlasaForConditionalGeneration.from_pretrained(tmp_path / "plain", quantization_config=config)
    inside = {name for name, kind in linear_layers(packed).items() if kind is not torch.nn.Linear}
    assert inside == {name for name in linear_layers(llasa) if name.startswith("model.language_model.layers.")}
    inputs = processor(imu=signals.to_array(hapt_windows)[:2], text=questions.RECOGNITION_QUESTION)
    assert torch.isfinite(packed.eval()(**inputs).logits).all()
    assert packed.generate(**inputs, max_new_tokens=2, do_sample=False).shape[1] == inputs["input_ids"].shape[1] + 2
