"""Every projector: as many tokens, trained in every weight, saved and read back bit for bit."""

import pytest
import torch

from llasa_lib import language_models, model, signals
from llasa_lib.encoder import LimuBertConfig, LimuBertModel
from llasa_lib.model import LlasaConfig, LlasaForConditionalGeneration, LlasaProcessor, LlasaProjector

KINDS = ["linear", "mlp2x_gelu", "pool", "resampler"]
QUESTION = "What is the person doing?"


def build(small_words, kind, steps_per_token=24):
    text_model, tokenizer = language_models.load(str(small_words), chat="chatml")
    processor = LlasaProcessor(model.ImuFeatureExtractor(), tokenizer)
    llasa = LlasaForConditionalGeneration.from_parts(
        LimuBertModel(LimuBertConfig()), text_model, processor, steps_per_token, summary_tokens=1, projector=kind
    )
    return llasa.eval(), processor


def projector(kind, steps_per_token):
    text = {"model_type": "llama", "hidden_size": 16, "num_attention_heads": 2}
    encoder = {"model_type": "limu_bert"}
    settings = LlasaConfig(
        encoder_config=encoder, text_config=text, steps_per_token=steps_per_token, projector=kind, summary_tokens=1
    )
    made = LlasaProjector(settings)
    if kind == "resampler":
        torch.nn.init.normal_(made.resampler.queries)
        torch.nn.init.normal_(made.resampler.positions)
    return made


@pytest.fixture(scope="module")
def imu(hapt_windows):
    return signals.to_array(hapt_windows)[:2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 4, 8, 24])
def test_every_projector_makes_the_same_number_of_tokens(kind, steps):
    tokens = projector(kind, steps)(torch.randn(3, 120, 72), torch.randn(3, 446))
    assert tokens.shape == (3, 120 // steps + 1, 16)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_reaches_every_weight(kind):
    made = projector(kind, 8)
    made(torch.randn(3, 120, 72), torch.randn(3, 446)).square().sum().backward()
    unreached = [name for name, weight in made.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert unreached == []


def test_pooling_longer_costs_no_parameter():
    sizes = {sum(weight.numel() for weight in projector("pool", steps).parameters()) for steps in (2, 4, 8, 24)}
    assert len(sizes) == 1


def test_pooling_does_not_see_the_order_of_states_inside_a_token_and_concatenation_does():
    states, summary = torch.randn(1, 120, 72), torch.randn(1, 446)
    turned = states.unflatten(1, (-1, 8)).flip(2).flatten(1, 2)
    for kind, blind in (("pool", True), ("linear", False), ("mlp2x_gelu", False)):
        made = projector(kind, 8)
        assert torch.allclose(made(states, summary), made(turned, summary), atol=1e-5) is blind


def test_the_resampler_knows_what_came_first():
    made, states, summary = projector("resampler", 8), torch.randn(1, 120, 72), torch.randn(1, 446)
    assert not torch.allclose(made(states, summary), made(states.flip(1), summary), atol=1e-3)


def test_the_parameters_of_the_published_projector_keep_their_names():
    names = {name.split(".")[0] for name, _ in projector("mlp2x_gelu", 24).named_parameters()}
    assert names == {"steps_1", "steps_2", "summary_1", "summary_2"}


def test_an_unknown_projector_is_refused_by_name():
    with pytest.raises(Exception, match="perceiver"):
        projector("perceiver", 8)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_comes_back_bit_for_bit(small_words, kind, imu, tmp_path):
    llasa, processor = build(small_words, kind)
    inputs = processor(imu=imu, text=QUESTION)
    model.save(llasa, processor, tmp_path / "saved")
    again, processor_again = model.load(tmp_path / "saved", dtype=torch.float32)
    assert again.config.projector == kind
    before, after = llasa.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    with torch.no_grad():
        assert torch.equal(llasa(**inputs).logits, again(**processor_again(imu=imu, text=QUESTION)).logits)


def test_the_queries_of_a_fresh_resampler_differ(small_words):
    fresh = build(small_words, "resampler")[0].model.projector.resampler
    assert fresh.queries.std() > 0.5
    assert fresh.positions.std() > 0.5
