"""LoRA: where the adapter sits, what it costs, what is packed into a conversation, and that a saved one comes back."""

import copy
import json

import numpy as np
import pytest
import torch

from llasa_lib import captions, encoder, language_models, model, profiles, questions, signals, training, tuning
from llasa_lib.errors import ModelError

TUNE = profiles.load("smoke").tune
QUESTION = questions.RECOGNITION_QUESTION


@pytest.fixture
def adapted(llasa):
    return tuning.add_adapter(llasa, TUNE)


def lora(tuned):
    return {name: value for name, value in tuned.named_parameters() if "lora_" in name}


# --- the adapter --------------------------------------------------------------------------------------------------


def test_the_adapter_sits_in_the_language_model_and_nowhere_else(adapted):
    places = {name.split(".lora_")[0] for name in lora(adapted)}
    layers = adapted.config.text_config.num_hidden_layers
    assert len(places) == layers * len(TUNE.targets)
    assert all("language_model" in place and "encoder" not in place for place in places)


def test_the_encoder_stays_out_even_if_its_layers_have_the_same_names(llasa):
    llasa.model.encoder.q_proj = torch.nn.Linear(4, 4)
    tuned = tuning.add_adapter(llasa, TUNE)
    assert not [name for name in lora(tuned) if "encoder" in name]


def test_only_adapter_and_projector_are_trained(adapted):
    trained = {name for name, value in adapted.named_parameters() if value.requires_grad}
    assert all("lora_" in name or "projector" in name for name in trained)
    assert trained & {name for name in trained if "projector" in name}
    assert trained & set(lora(adapted))


@pytest.mark.parametrize("rank", [1, 2, 8])
def test_an_adapter_costs_rank_times_the_two_sides_of_its_layers(llasa, rank):
    shapes = [
        (layer.in_features, layer.out_features)
        for name, layer in llasa.model.language_model.named_modules()
        if name.split(".")[-1] in TUNE.targets
    ]
    tuned = tuning.add_adapter(llasa, TUNE.model_copy(update={"rank": rank}))
    assert sum(value.numel() for value in lora(tuned).values()) == sum(rank * (i + o) for i, o in shapes)


def test_an_untrained_adapter_changes_no_logit(tiny_llasa, adapted, hapt_windows):
    llasa, processor = tiny_llasa
    inputs = processor(imu=hapt_windows[0], text=QUESTION)
    torch.testing.assert_close(adapted.eval()(**inputs).logits, llasa(**inputs).logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_is_trained_is_float32_however_the_model_was_loaded(llasa, dtype):
    """A projector in float16 cannot be unscaled, and in bfloat16 small steps are lost."""
    update = {"encoder_learning_rate": 1e-4}
    tuned = tuning.add_adapter(llasa.to(dtype), TUNE.model_copy(update=update))
    kinds = {value.requires_grad: set() for value in tuned.parameters()}
    for value in tuned.parameters():
        kinds[value.requires_grad].add(value.dtype)
    assert kinds[True] == {torch.float32}
    assert dtype in kinds[False]


def test_a_thawed_encoder_trains_only_what_gets_a_gradient(corpus, hapt_windows, tmp_path):
    """DDP waits for the gradient of every trained weight, and the mask token of pretraining gets none."""
    network = profiles.load("smoke").encoder.network.model_copy(update={"mask_token": True})
    torch.manual_seed(0)
    limu_bert = encoder.LimuBertModel(encoder.LimuBertConfig(**network.model_dump()))
    imu = signals.to_array(hapt_windows)
    llasa, processor = model.build(limu_bert, imu, profiles.load("smoke").language_model, 24, 4, True)
    tuned = tuning.add_adapter(llasa, TUNE.model_copy(update={"encoder_learning_rate": 1e-4})).train()
    trained = {name: value for name, value in tuned.named_parameters() if value.requires_grad}
    assert any("encoder" in name for name in trained)
    samples = tuning.tuning_samples(corpus.select(range(2)), 2, 1, seed=0)
    data = model.Conversations(processor, signals.to_array(corpus), samples, 2, seed=0)
    batch = model.collate([data[n] for n in range(2)], processor.tokenizer.pad_token_id)
    tuned(**batch).loss.backward()
    assert [name for name, value in trained.items() if value.grad is None] == []


def test_an_encoder_that_no_token_is_made_of_cannot_be_thawed(hapt_windows):
    smoke = profiles.load("smoke")
    limu_bert = encoder.LimuBertModel(encoder.LimuBertConfig())
    llasa, _ = model.build(limu_bert, signals.to_array(hapt_windows), smoke.language_model, 0, 4)
    with pytest.raises(ModelError, match="encoder_learning_rate is set, but steps_per_token is 0"):
        tuning.add_adapter(llasa, TUNE.model_copy(update={"encoder_learning_rate": 1e-4}))


# --- what it learns from ------------------------------------------------------------------------------------------


def bare(question):
    """A question without the line that says where the sensor is worn."""
    return question.split("\n", 1)[1] if question.startswith("Worn ") else question


@pytest.mark.parametrize("turns", [1, 2, 5])
def test_every_conversation_names_the_activity_and_repeats_no_kind(corpus, turns):
    kinds = [{pair["question"]: pair["kind"] for pair in row} for row in corpus["questions"]]
    for row, conversation in tuning.tuning_samples(corpus, turns, epochs=2, seed=0):
        asked = [kinds[row][bare(question)] for question, _ in conversation]
        assert len(asked) == turns
        assert "recognition" in asked
        assert len(set(asked)) == turns


def test_the_recognition_is_not_always_asked_first(corpus):
    """Else every later answer could be read from the first one instead of the sensor."""
    samples = tuning.tuning_samples(corpus, turns=2, epochs=2, seed=0)
    first = [turns[0][1].startswith("The person is") for _, turns in samples]
    assert 0.3 < np.mean(first) < 0.7


def test_each_pass_sees_every_window_once(corpus):
    rows = [row for row, _ in tuning.tuning_samples(corpus, turns=2, epochs=1.5, seed=0)]
    assert sorted(rows[: len(corpus)]) == list(range(len(corpus)))
    assert len(rows) == round(1.5 * len(corpus))


def test_a_conversation_says_of_a_window_what_the_corpus_says_of_it(corpus):
    for row, conversation in tuning.tuning_samples(corpus, turns=5, epochs=1, seed=0):
        told = {(pair["question"], pair["answer"]) for pair in corpus[row]["questions"]}
        assert {(bare(question), answer) for question, answer in conversation} == told
        assert conversation[0][0].startswith("Worn ") == bool(corpus[row]["told"]), "told as the corpus tells it"
        assert not any(question.startswith("Worn ") for question, _ in conversation[1:])


def test_packing_five_questions_pays_for_the_sensor_once(tiny_llasa, corpus):
    processor = tiny_llasa[1]
    pairs = [(pair["question"], pair["answer"]) for pair in corpus[0]["questions"]]
    packed = processor.conversation(pairs)["input_ids"]
    apart = [processor.conversation([pair])["input_ids"] for pair in pairs]
    assert packed.count(processor.imu_token_id) == processor.tokens_per_window
    sensor = processor.tokens_per_window + len(processor.tokenizer("\n").input_ids)
    assert sum(map(len, apart)) - len(packed) == 4 * sensor


# --- training and saving ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tiny_llasa, corpus, tmp_path_factory):
    """(folder of the aligned model, folder of the tuned one, tuned model, history), as the pipeline lays them out."""
    llasa, processor = copy.deepcopy(tiny_llasa)
    home = tmp_path_factory.mktemp("stages")
    model.save(llasa, processor, home / "align")
    settings = TUNE.model_copy(update={"learning_rate": 0.01, "projector_learning_rate": 0.01, "epochs": 1})
    tuned, history = tuning.tune(llasa, processor, corpus, settings, home / "work", seed=0)
    model.save(tuned, processor, home / "tune")
    return home, tuned.eval(), history


def test_tuning_moves_adapter_and_projector_and_leaves_the_rest(trained, tiny_llasa):
    _, tuned, history = trained
    before = dict(tiny_llasa[0].named_parameters())
    after = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): value
        for name, value in tuned.named_parameters()
    }
    same = {name: torch.equal(before[name], after[name]) for name in before if name in after}
    assert len(same) > 20
    assert all(same.values()), [name for name, kept in same.items() if not kept]
    moved = {k.split("modules_to_save.default.")[1]: v for k, v in after.items() if "modules_to_save" in k}
    assert moved
    assert all(not torch.equal(value, before[f"model.projector.{name}"]) for name, value in moved.items())
    assert all(value.abs().max() > 0 for name, value in after.items() if "lora_B" in name)
    assert all(np.isfinite(row["loss"]) for row in history)


def test_a_saved_adapter_comes_back_merged_with_the_same_logits(trained, tiny_llasa, hapt_windows):
    home, tuned, _ = trained
    llasa = tiny_llasa[0]
    back, its_processor = model.load(home / "tune")
    assert isinstance(back, model.LlasaForConditionalGeneration)
    assert not lora(back)
    inputs = its_processor(imu=[hapt_windows[0], hapt_windows[9]], text=QUESTION)
    with torch.no_grad():
        expected, untuned = tuned(**inputs).logits, llasa(**inputs).logits
        torch.testing.assert_close(back(**inputs).logits, expected, atol=1e-4, rtol=1e-4)
    assert (expected - untuned).abs().max() > 1e-3, "the test must be able to tell a tuned model from an untuned one"


def test_the_saved_folder_holds_adapter_and_projector_but_no_language_model(trained):
    home, tuned, _ = trained
    from safetensors.torch import load_file

    saved = load_file(home / "tune" / "adapter_model.safetensors")
    assert any("projector" in name for name in saved)
    assert all("lora_" in name or "projector" in name for name in saved)
    trained_on, whole = training.count(tuned)
    # All that was trained, and the few scales of the projector that are measured.
    assert trained_on <= sum(value.numel() for value in saved.values()) < 1.01 * trained_on < whole / 5


def test_an_adapter_without_its_base_model_is_refused_in_one_sentence(trained, tmp_path):
    import shutil

    from llasa_lib.errors import ModelError

    shutil.copytree(trained[0] / "tune", tmp_path / "tune")
    with pytest.raises(ModelError, match="does not hold a complete LLaSA model"):
        model.load(tmp_path / "tune")


def test_the_tuned_model_chats_without_a_sensor(trained):
    back, processor = model.load(trained[0] / "tune")
    inputs = processor(text="What is a sensor?")
    new = back.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert len(processor.answers(new, inputs)) == 1


def test_signals_reach_the_tuned_model_in_si_units(trained, hapt_windows):
    _, processor = model.load(trained[0] / "tune")
    window = signals.to_array(hapt_windows)[0]
    values = processor(imu=window, text=QUESTION)["imu_values"][0]
    np.testing.assert_allclose(values[:, :3].numpy() * 9.8, signals.to_frame(window[None])[0, :, :3], atol=1e-4)


def test_lora_by_the_book_is_what_the_adapter_computes(llasa):
    tuned = tuning.add_adapter(llasa, TUNE)
    layer = next(m for name, m in tuned.named_modules() if name.endswith("layers.0.self_attn.q_proj"))
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    torch.nn.init.normal_(b)
    x = torch.randn(3, 5, layer.in_features)
    by_hand = layer.base_layer(x) + TUNE.alpha / TUNE.rank * (x @ a.T) @ b.T
    torch.testing.assert_close(layer(x), by_hand)


def test_every_profile_names_layers_that_its_language_model_has():
    """A target that matches nothing would train a projector and call it LoRA."""
    names = {name.split(".")[-1] for name, _ in language_models.load_model("tiny").named_modules()}
    for name in profiles.names():
        assert set(profiles.load(name).tune.targets) <= names


# --- measured values in the prompt --------------------------------------------------------------------------------


def test_numbers_are_asked_for_only_where_the_prompt_holds_the_measured_values(corpus):
    samples = tuning.tuning_samples(corpus, turns=4, epochs=4, seed=0, measured_share=0.5)
    measured = [sample for sample in samples if bare(sample[1][0][0]).startswith("Measured:")]
    assert 0.4 < len(measured) / len(samples) < 0.6
    for row, talk in samples:
        if (row, talk) in measured:
            facts = captions.Facts.from_dict(json.loads(corpus[row]["facts"]))
            first = bare(talk[0][0]).split("\n", 1)
            assert model.with_measurements(first[1], facts) == bare(talk[0][0])
            assert len(talk) == 4
            assert not any(question.startswith("Measured:") for question, _ in talk[1:])
        else:
            assert [answer for _, answer in talk] == [questions.recognition_answer(corpus[row]["activity"])]


def test_without_measured_values_every_conversation_asks_as_published(corpus):
    samples = tuning.tuning_samples(corpus, turns=3, epochs=1, seed=0)
    assert all(len(talk) == 3 and not talk[0][0].startswith("Measured:") for _, talk in samples)


def test_the_processor_writes_the_measured_values_of_the_right_window(tiny_llasa, hapt_windows):
    processor = tiny_llasa[1]
    imu = signals.to_array(hapt_windows)[[0, 60]]
    question = "How many impacts are there?"
    inputs = processor(imu=imu, text=question, measurements=True)
    for ids, facts in zip(inputs["input_ids"], captions.measure_all(imu), strict=True):
        assert model.with_measurements(question, facts) in processor.tokenizer.decode(ids, skip_special_tokens=True)
    assert "Measured" not in processor.tokenizer.decode(processor(imu=imu, text=question)["input_ids"][0])


def test_a_saved_processor_knows_whether_its_model_reads_measured_values(tiny_llasa, tmp_path):
    for told in (True, False):
        one = copy.deepcopy(tiny_llasa[1])
        one.measurements = told
        one.save_pretrained(tmp_path / str(told))
        assert model.LlasaProcessor.from_pretrained(tmp_path / str(told)).measurements is told


@pytest.mark.parametrize(("stage", "told"), [("align", False), ("tune", True)])
def test_only_a_model_that_was_tuned_with_measured_values_gets_them(trained, hapt_windows, stage, told):
    assert TUNE.measured_share > 0
    processor = model.load(trained[0] / stage)[1]
    inputs = processor(imu=signals.to_array(hapt_windows)[0], text="How many impacts are there?")
    assert ("Measured: " in processor.tokenizer.decode(inputs["input_ids"][0])) is told
