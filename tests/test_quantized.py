"""A language model in four bits (QLoRA): what is packed, what is not, and that both come back from a folder."""

import pytest
import torch

from llasa_lib import language_models, model, profiles, questions, signals, training, tuning
from llasa_lib.encoder import LimuBertConfig, LimuBertModel

bitsandbytes = pytest.importorskip("bitsandbytes", reason="packs weights into four bits", exc_type=ImportError)
SMOKE = profiles.load("smoke")


@pytest.fixture(scope="module")
def packed(corpus, tmp_path_factory):
    """A whole model over a Llama in four bits, aligned for a few steps; its processor, and where it was saved."""
    folder = tmp_path_factory.mktemp("packed")
    for part in language_models.load("tiny"):
        part.save_pretrained(folder / "llama")
    torch.manual_seed(0)
    text = SMOKE.language_model.model_copy(update={"name": str(folder / "llama"), "quantize": True})
    encoder = LimuBertModel(LimuBertConfig(**SMOKE.encoder.network.model_dump())).eval()
    llasa, processor = model.build(encoder, signals.to_array(corpus), text, 24, 4, True)
    model.align(llasa, processor, corpus, SMOKE.align, folder / "work", seed=0)
    model.save(llasa, processor, folder / "align")
    return llasa.eval(), processor, folder


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
