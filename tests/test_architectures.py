"""Any decoder behind the sensor tokens: its own logits, its own answers, saved and read back; or refused by name."""

import copy

import numpy as np
import pytest
import torch
from test_generation import one_pass
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, LlamaForCausalLM

from llasa_lib import language_models, model, profiles, signals, tuning
from llasa_lib.encoder import LimuBertConfig, LimuBertModel
from llasa_lib.errors import ModelError
from llasa_lib.model import LlasaForConditionalGeneration, LlasaProcessor

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
    "pad_token_id": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GEMMA = {"head_dim": 16, "sliding_window": 16, "query_pre_attn_scalar": 16}
# What is special about each family, set so that it matters: windows shorter than the prompt, caps near the logits.
FAMILIES = {
    "llama": {"tie_word_embeddings": True},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "mistral": {"sliding_window": 16},
    "smollm3": {},
    "gemma": {"head_dim": 16},
    "gemma2": {**GEMMA, "initializer_range": 1.0},
    "gemma3_text": {**GEMMA, "layer_types": ["sliding_attention", "full_attention"]},
    "phi3": {},
    "granite": {"logits_scaling": 4.0, "embedding_multiplier": 3.0},
    "cohere": {"logit_scale": 0.25},
    "gpt_neox": {"tie_word_embeddings": True},
    "gpt2": {"n_positions": 256},
}
TARGETS = {"phi3": ["qkv_proj"], "gpt_neox": ["query_key_value"], "gpt2": ["c_attn"]}
TEXTS = ["Tell me, in a long sentence, what a gyroscope feels when somebody climbs the stairs.", "What is it?"]
QUESTION = "What is the person doing?"
GREEDY = {"max_new_tokens": 6, "do_sample": False}


@pytest.fixture(scope="module")
def tokenizer(small_words):
    return language_models.load_tokenizer(str(small_words), chat="chatml")


@pytest.fixture(scope="module")
def imu(hapt_windows):
    return signals.to_array(hapt_windows)[:4]


def text_model(family, tokenizer, **settings):
    """A small random causal language model of a family."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family, vocab_size=len(tokenizer), **{**SMALL, **FAMILIES.get(family, {}), **settings}
    )
    return AutoModelForCausalLM.from_config(config).eval()


def joined(language_model, tokenizer):
    processor = LlasaProcessor(model.ImuFeatureExtractor(), copy.deepcopy(tokenizer))
    torch.manual_seed(0)
    limu_bert = LimuBertModel(LimuBertConfig())
    return LlasaForConditionalGeneration.from_parts(limu_bert, language_model, processor, 24, 1).eval(), processor


def settled(back):
    """A copy in memory of its own: mapped from a file, weights lie where sums may be taken in another order."""
    return copy.deepcopy(back)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tokenizer):
    """(name, inputs, logits and answers of the text model before it was touched, joined model, its processor)."""
    alone = text_model(request.param, tokenizer)
    inputs = LlasaProcessor(model.ImuFeatureExtractor(), copy.deepcopy(tokenizer))(text=TEXTS)
    with torch.no_grad():
        logits = alone(**inputs).logits
    answers = alone.generate(**inputs, **GREEDY)
    return request.param, inputs, logits, answers, *joined(alone, tokenizer)


# --- every family -------------------------------------------------------------------------------------------------


def test_a_text_gets_the_logits_and_the_answer_that_the_text_model_gives_alone(family):
    _, inputs, logits, answers, llasa, _ = family
    assert (inputs["attention_mask"][1] == 0).any(), "the batch must be padded on the left"
    with torch.no_grad():
        ours = llasa(**inputs).logits[..., : logits.shape[-1]]  # without the added <imu>
    assert torch.equal(ours, logits)
    assert torch.equal(llasa.generate(**inputs, **GREEDY), answers)


def test_a_model_comes_back_from_its_folder_bit_for_bit(family, imu, tmp_path):
    *_, llasa, processor = family
    llasa.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    back = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=torch.float32).eval()
    inputs = AutoProcessor.from_pretrained(tmp_path)(imu=imu[:2], text=TEXTS)
    assert type(back) is LlasaForConditionalGeneration
    with torch.no_grad():
        assert torch.equal(settled(back)(**inputs).logits, llasa(**processor(imu=imu[:2], text=TEXTS)).logits)
    assert back.state_dict().keys() == llasa.state_dict().keys()


def test_the_cache_changes_no_answer(family, imu):
    *_, llasa, processor = family
    inputs = processor(imu=imu[:2], text=TEXTS)
    assert torch.equal(llasa.generate(**inputs, **GREEDY), llasa.generate(**inputs, **GREEDY, use_cache=False))


def test_an_adapter_finds_the_attention_of_every_family(family):
    name, *_, llasa, _ = family
    settings = profiles.load("smoke").tune.model_copy(update={"targets": TARGETS.get(name, ["q_proj", "v_proj"])})
    tuned = tuning.add_adapter(copy.deepcopy(llasa), settings)
    places = {name.split(".lora_")[0] for name, _ in tuned.named_parameters() if "lora_" in name}
    assert len(places) == len(settings.targets) * SMALL["num_hidden_layers"]
    assert all("language_model" in place for place in places)


def test_what_is_learned_is_measured_by_the_same_logits(family, imu):
    *_, llasa, processor = family
    inputs = processor(imu=imu[:2], text=TEXTS)
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, model.IGNORE)
    labels[:, :-4] = model.IGNORE
    with torch.no_grad():
        logits = llasa(**inputs).logits[:, :-1]
        loss = llasa(**inputs, labels=labels).loss
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten()))


def test_the_caps_and_scales_of_the_families_above_are_felt(tokenizer):
    """Else the tests above could not tell a model that leaves them out."""
    for name, less in (("gemma2", 1.0), ("granite", 0.3), ("cohere", 0.3)):
        llasa, processor = joined(text_model(name, tokenizer), tokenizer)
        with torch.no_grad():
            hidden = llasa.model(**processor(text=TEXTS[0])).last_hidden_state
            assert (llasa.lm_head(hidden) - llasa.score(hidden)).abs().max() > less, name


# --- refused, by name ---------------------------------------------------------------------------------------------


class Louder(LlamaForCausalLM):
    """Does something to its logits that no configuration tells."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = output.logits * 1.01
        return output


def test_a_model_that_changes_its_logits_in_its_own_way_is_refused(tokenizer):
    louder = Louder(text_model("llama", tokenizer).config)
    with pytest.raises(ModelError, match=r"Louder does more with its words.*Choose a decoder"):
        joined(louder, tokenizer)


@pytest.mark.parametrize(
    ("name", "settings", "why"),
    [
        ("mamba", {}, "MambaForCausalLM cannot read sensor tokens"),
        ("phi", {}, r"PhiForCausalLM could not be read back from a folder: lm_head\.bias"),
        ("falcon_h1", {"lm_head_multiplier": 0.5, "mamba_d_ssm": 32, "mamba_n_heads": 2}, "FalconH1ForCausalLM"),
    ],
)
def test_a_family_that_does_not_fit_is_refused_by_name(tokenizer, name, settings, why):
    other = text_model(name, tokenizer, **settings)
    with pytest.raises(ModelError, match=why + ".*Choose a decoder such as SmolLM2"):
        joined(other, tokenizer)


def test_a_model_that_reads_images_as_well_is_refused_by_name(tokenizer):
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    text = text_model("llama", tokenizer).config
    vision = {"model_type": "clip_vision_model", "hidden_size": 24, "intermediate_size": 16}
    with torch.device("meta"):
        llava = LlavaForConditionalGeneration(LlavaConfig(text_config=text, vision_config=vision))
    with pytest.raises(ModelError, match="LlavaForConditionalGeneration reads more than text; give the language model"):
        joined(llava, tokenizer)


def test_an_encoder_with_a_decoder_is_refused_by_name(tokenizer):
    from transformers import T5Config, T5ForConditionalGeneration

    t5 = T5ForConditionalGeneration(T5Config(vocab_size=99, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2))
    with pytest.raises(ModelError, match="T5ForConditionalGeneration is an encoder with a decoder"):
        joined(t5, tokenizer)


def test_a_network_without_its_output_layer_is_refused_by_name(tokenizer):
    with pytest.raises(ModelError, match=r"LlamaModel has no output layer.*AutoModelForCausalLM"):
        joined(text_model("llama", tokenizer).model, tokenizer)


def test_layers_that_a_family_does_not_have_are_named_with_those_it_has(tokenizer):
    llasa, _ = joined(text_model("phi3", tokenizer), tokenizer)
    with pytest.raises(ModelError, match=r"Phi3Model has no layer q_proj or v_proj.*qkv_proj"):
        tuning.add_adapter(llasa, profiles.load("smoke").tune.model_copy(update={"targets": ["q_proj", "v_proj"]}))


def test_joining_draws_no_random_number_and_leaves_the_mode_of_the_text_model(tokenizer):
    alone = text_model("gpt2", tokenizer).train()  # its dropout would show as other logits
    processor = LlasaProcessor(model.ImuFeatureExtractor(), copy.deepcopy(tokenizer))
    limu_bert = LimuBertModel(LimuBertConfig())
    before = torch.get_rng_state()
    LlasaForConditionalGeneration.from_parts(limu_bert, alone, processor, 24)
    assert torch.equal(torch.get_rng_state(), before)
    assert alone.training


# --- what a family scales inside its embedding ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_soft_tokens_are_as_loud_as_the_words_that_the_layers_see(tokenizer, imu, tmp_path, name):
    text_model(name, tokenizer).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    chosen = profiles.LanguageModel(name=str(tmp_path), chat="chatml")
    llasa, processor = model.build(LimuBertModel(LimuBertConfig()).eval(), imu, chosen, 24, 1, standardise=True)
    inputs = processor(imu=imu[:1], text=QUESTION)
    with torch.no_grad():
        words = llasa.get_input_embeddings()(torch.arange(len(tokenizer)))
        soft = llasa.get_imu_features(inputs["imu_values"], inputs["imu_summary"])
    torch.testing.assert_close(soft.square().mean().sqrt(), words.square().mean().sqrt(), rtol=0.05, atol=0)


LABELS = ["The person is walking.", "The person is sitting down.", "The person is very quickly climbing stairs."]


@pytest.mark.parametrize(
    ("name", "settings", "labels"),
    [
        ("mistral", {}, LABELS),
        ("gemma2", {"initializer_range": 0.02}, LABELS),
        ("gemma3_text", {}, LABELS),
        ("phi3", {}, LABELS),
        ("llama", {"max_position_embeddings": 64}, [f"The person is number {n}." for n in range(28)]),
    ],
    ids=["mistral", "gemma2", "gemma3", "phi3", "labels that fill the context"],
)
def test_labels_score_as_in_passes_of_their_own(name, settings, labels, tokenizer, imu):
    """Also where attention slides past the prompt, and where all labels together are longer than the context."""
    llasa, processor = joined(text_model(name, tokenizer, **settings), tokenizer)
    scores = model.score_sentences(llasa, processor, imu[:2], QUESTION, labels)
    apart = [[one_pass(llasa, processor, window, label) for label in labels] for window in imu[:2]]
    np.testing.assert_allclose(scores, apart, atol=1e-3)


# --- several windows, several answers -------------------------------------------------------------------------------

GROUPS, ASKED = ([2, 1, 0], ["Which one moves more?", "What is the person doing, and how can one tell?", "Hello!"])


@pytest.fixture(scope="module")
def several(tokenizer, imu):
    """A model, and a padded batch of prompts about two windows, one and none, with each of them alone."""
    llasa, processor = joined(text_model("llama", tokenizer, initializer_range=0.3), tokenizer)
    with torch.no_grad():
        llasa.model.projector.steps_2.weight.mul_(50)  # so loud that exchanged windows change the answer
    groups = [[imu[0], imu[3]], [imu[1]], []]
    batch = processor(imu=groups, text=ASKED)
    single = [processor(imu=[group], text=[text]) for group, text in zip(groups[:2], ASKED[:2], strict=True)]
    return llasa, processor, batch, [*single, processor(text=ASKED[2])]


def new(generated, inputs):
    return generated[:, inputs["input_ids"].shape[1] :]


def test_prompts_about_several_windows_are_answered_in_a_batch_as_one_by_one(several):
    llasa, _, batch, single = several
    together = new(llasa.generate(**batch, **GREEDY), batch)
    assert (batch["attention_mask"] == 0).any()
    for row, alone in zip(together, single, strict=True):
        assert torch.equal(row, new(llasa.generate(**alone, **GREEDY), alone)[0])


@pytest.mark.parametrize("use_cache", [True, False])
def test_beams_of_a_prompt_read_its_own_windows_in_their_order(several, use_cache):
    llasa, _, batch, single = several
    options = {**GREEDY, "num_beams": 3, "num_return_sequences": 2, "use_cache": use_cache, "eos_token_id": -1}
    together = new(llasa.generate(**batch, **options), batch).view(3, 2, -1)
    for rows, alone in zip(together, single, strict=True):
        assert torch.equal(rows, new(llasa.generate(**alone, **options), alone))


def test_every_sampled_answer_is_drawn_from_its_own_windows(several):
    llasa, _, batch, single = several
    options = {"do_sample": True, "num_return_sequences": 3, "max_new_tokens": 1, "output_logits": True}
    found = llasa.generate(**batch, **options, return_dict_in_generate=True)
    assert len(found.sequences) == 9
    for rows, alone in zip(found.logits[0].view(3, 3, -1), single, strict=True):
        with torch.no_grad():
            expected = llasa(**alone).logits[:, -1]
        torch.testing.assert_close(rows, expected.expand(3, -1), atol=1e-4, rtol=1e-4)


def test_exchanged_windows_would_change_those_answers(several, imu):
    llasa, processor, *_ = several
    logits = [
        llasa(**processor(imu=[pair], text=ASKED[:1])).logits[0, -1] for pair in ([imu[0], imu[3]], [imu[3], imu[0]])
    ]
    assert (logits[0] - logits[1]).abs().max() > 0.01


# --- what Transformers promises of any model ------------------------------------------------------------------------


def lesson(processor, imu):
    data = model.Conversations(processor, imu[:2], [(0, [(QUESTION, "Walking.")]), (1, [(QUESTION, "Lying.")])], 2, 0)
    return model.collate([data[0], data[1]], processor.tokenizer.pad_token_id)


def test_checkpoints_save_memory_and_change_no_gradient(tokenizer, imu):
    llasa, processor = joined(text_model("llama", tokenizer), tokenizer)
    batch, gradients = lesson(processor, imu), []
    for _ in range(2):
        llasa.train().zero_grad()
        llasa(**batch).loss.backward()
        gradients.append(
            {name: value.grad.clone() for name, value in llasa.named_parameters() if value.grad is not None}
        )
        llasa.gradient_checkpointing_enable()
    assert llasa.model.language_model.is_gradient_checkpointing
    assert gradients[0].keys() == gradients[1].keys()
    assert any("projector" in name for name in gradients[0])
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, msg=name)


def test_bfloat16_answers_almost_as_float32_does(tokenizer, imu):
    llasa, processor = joined(text_model("llama", tokenizer), tokenizer)
    inputs = processor(imu=imu[:2], text=TEXTS)
    with torch.no_grad():
        exact = llasa(**inputs).logits
        half = llasa.to(torch.bfloat16)(**inputs).logits
    assert half.dtype == torch.bfloat16
    assert 0 < (half.float() - exact).abs().max() < 0.05 * exact.abs().max()
    assert llasa.generate(**inputs, **GREEDY).shape[1] > inputs["input_ids"].shape[1]


@pytest.mark.parametrize("tied", [True, False])
def test_input_and_output_words_are_one_matrix_exactly_where_the_text_model_says_so(tokenizer, imu, tmp_path, tied):
    """Vicuna keeps two; SmolLM2 one."""
    llasa, processor = joined(text_model("llama", tokenizer, tie_word_embeddings=tied), tokenizer)
    model.save(llasa, processor, tmp_path / "model")
    back, _ = model.load(tmp_path / "model", dtype=torch.float32)
    for one in (llasa, back):
        assert (one.lm_head.weight is one.get_input_embeddings().weight) is tied
    assert torch.equal(back.lm_head.weight, llasa.lm_head.weight)
    inputs = processor(imu=imu[:1], text=QUESTION)
    with torch.no_grad():
        assert torch.equal(settled(back)(**inputs).logits, llasa(**inputs).logits)


@pytest.mark.parametrize("tied", [True, False])
def test_more_words_change_no_logit_of_the_old_ones(tokenizer, imu, tmp_path, tied):
    llasa, processor = joined(text_model("llama", tokenizer, tie_word_embeddings=tied), tokenizer)
    inputs = processor(imu=imu[:1], text=QUESTION)
    with torch.no_grad():
        before = llasa(**inputs).logits
        words = llasa.config.text_config.vocab_size
        llasa.resize_token_embeddings(words + 7, mean_resizing=False)
        after = llasa(**inputs).logits
        assert llasa.config.text_config.vocab_size == after.shape[-1] == words + 7
        torch.testing.assert_close(after[..., :words], before)
        llasa.save_pretrained(tmp_path)
        back = LlasaForConditionalGeneration.from_pretrained(tmp_path).eval()
        assert torch.equal(settled(back)(**inputs).logits, after)


def test_logits_can_be_asked_for_single_positions(tokenizer, imu):
    llasa, processor = joined(text_model("llama", tokenizer), tokenizer)
    inputs = processor(imu=imu[:1], text=QUESTION)
    with torch.no_grad():
        everything = llasa(**inputs).logits
        for kept, expected in ((1, everything[:, -1:]), (torch.tensor([0, 5]), everything[:, [0, 5]])):
            torch.testing.assert_close(llasa(**inputs, logits_to_keep=kept).logits, expected)


def test_a_model_saved_alone_answers_in_a_fresh_process_without_anything_else(tokenizer, imu, tmp_path):
    """What push_to_hub uploads is this folder."""
    import subprocess
    import sys

    llasa, processor = joined(text_model("llama", tokenizer), tokenizer)
    llasa.save_pretrained(tmp_path / "hub")
    processor.save_pretrained(tmp_path / "hub")
    np.save(tmp_path / "window.npy", imu[0])
    program = (
        "import numpy as np, llasa_lib.model\n"
        "from transformers import AutoModelForImageTextToText, AutoProcessor\n"
        "model = AutoModelForImageTextToText.from_pretrained('hub')\n"
        "processor = AutoProcessor.from_pretrained('hub')\n"
        f"inputs = processor(imu=np.load('window.npy'), text={QUESTION!r})\n"
        "print(model.generate(**inputs, max_new_tokens=6, do_sample=False).tolist())\n"
    )
    from llasa_lib import files

    environment = {"PATH": "", "HOME": str(tmp_path), "LLASA_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = str(files.PACKAGE.parent)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected = llasa.generate(**processor(imu=imu[0], text=QUESTION), **GREEDY)
    assert done.stdout.splitlines()[-1] == str(expected.tolist())
