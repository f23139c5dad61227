"""The model and its one way in: units, placeholders, labels, padding, saving, and what stays frozen."""

import copy
import hashlib
import json

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor
from transformers.utils import ModelOutput

from llasa_lib import encoder, language_models, model, profiles, questions, signals, training, tuning
from llasa_lib.encoder import LimuBertConfig, LimuBertModel
from llasa_lib.errors import ModelError
from llasa_lib.model import IGNORE, LlasaConfig, LlasaForConditionalGeneration, LlasaProcessor, LlasaProjector

QUESTION = questions.RECOGNITION_QUESTION
TURNS = [
    (QUESTION, "The person is climbing stairs."),
    ("How intense is the motion?", "The spread of acceleration is 2.4 m/s²."),
    ("Who is the person?", "Identity cannot be told."),
]
ALIGN, TUNE = profiles.load("smoke").align, profiles.load("smoke").tune


@pytest.fixture(scope="module")
def imu(hapt_windows):
    """Windows that differ: the first of each activity."""
    array, activity = signals.to_array(hapt_windows), np.array(hapt_windows["activity"])
    return array[[int(np.flatnonzero(activity == name)[0]) for name in sorted(set(activity))]]


def parts(small_words, steps_per_token, summary_tokens):
    text_model, tokenizer = language_models.load(str(small_words), chat="chatml")
    made = LlasaProcessor(model.ImuFeatureExtractor(), tokenizer)
    limu_bert = LimuBertModel(LimuBertConfig())
    return LlasaForConditionalGeneration.from_parts(limu_bert, text_model, made, steps_per_token, summary_tokens), made


def config(hidden, steps_per_token, summary_tokens):
    text = {"model_type": "llama", "hidden_size": hidden, "num_attention_heads": 8}
    return LlasaConfig(
        encoder_config={"model_type": "limu_bert"},
        text_config=text,
        steps_per_token=steps_per_token,
        summary_tokens=summary_tokens,
    )


def digest(module):
    total = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        total.update(name.encode() + value.contiguous().numpy().tobytes())
    return total.hexdigest()


# --- the processor ------------------------------------------------------------------------------------------------


def test_one_window_becomes_as_many_placeholders_as_the_projector_makes_tokens(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    inputs = processor(imu=imu, text=QUESTION)
    per_prompt = (inputs["input_ids"] == processor.imu_token_id).sum(1)
    assert per_prompt.tolist() == [llasa.config.tokens_per_window] * len(imu) == [9] * len(imu)


def test_every_question_keeps_its_own_window(processor, imu):
    asked = [QUESTION, "How intense is the motion?"]
    inputs = processor(imu=imu[:2], text=asked)
    texts = processor.tokenizer.batch_decode(inputs["input_ids"])
    assert all(question in text for question, text in zip(asked, texts, strict=True))
    alone = processor(imu=imu[1], text=asked[1])
    torch.testing.assert_close(inputs["imu_values"][1:], alone["imu_values"])


def test_a_question_without_a_window_is_a_plain_chat(tiny_llasa):
    llasa, processor = tiny_llasa
    inputs = processor(text="Say hello.")
    assert set(inputs) == {"input_ids", "attention_mask"}
    assert (inputs["input_ids"] != processor.imu_token_id).all()
    assert llasa(**inputs).logits.shape[:2] == inputs["input_ids"].shape


def test_the_processor_alone_turns_si_units_into_what_the_encoder_reads(processor, imu):
    inputs, frame = processor(imu=imu, text=QUESTION), signals.to_frame(imu)
    np.testing.assert_allclose(inputs["imu_values"][..., :3].numpy() * 9.8, frame[..., :3], atol=1e-4)
    np.testing.assert_allclose(inputs["imu_values"][..., 3:].numpy(), frame[..., 3:], atol=1e-5)


def test_the_statistics_of_the_training_windows_are_standardised(processor, hapt_windows):
    """Those of moving windows among these, those of still ones among those; what is far is cut."""
    windows = signals.calibrate(signals.to_array(hapt_windows))
    summary = torch.from_numpy(model.ImuFeatureExtractor().fit(windows).summary(windows))
    size, moving = len(signals.STATISTICS), torch.from_numpy(windows.moving)
    still = slice(size, 2 * size)
    for rows, part, others in ((moving, slice(0, size), still), (~moving, still, slice(0, size))):
        assert summary[rows][:, part].mean(0).abs().max() < 0.1
        assert summary[rows][:, part].std(0).median() == pytest.approx(1, abs=0.05)
        assert (summary[rows][:, others] == 0).all()
    assert summary.abs().max() <= 5


def test_the_mean_of_a_varied_recording_is_taken_away_and_that_of_one_activity_is_not(hapt_windows):
    imu, people = signals.to_array(hapt_windows), np.array(hapt_windows["subject"])
    together = signals.calibrate(imu, people)
    extractor = model.ImuFeatureExtractor().fit(together)
    moving = together.moving & (people == people[0])
    centred = extractor.summary(together)[moving][:, : len(signals.STATISTICS)]
    alone = extractor.summary(signals.calibrate(imu))[moving][:, : len(signals.STATISTICS)]
    assert np.abs(centred.mean(0)).mean() < 0.6 * np.abs(alone.mean(0)).mean()
    walks = moving & (np.array(hapt_windows["activity"]) == "walking")
    one_kind = signals.calibrate(imu[walks], people[walks])
    assert extractor.calibration(one_kind).max() == 0
    assert (extractor.calibration(together)[moving] > 0.5).all()


def test_the_placement_is_told_by_a_word_or_left_out(processor, imu):
    asked = lambda **told: processor.tokenizer.decode(processor(imu=imu[:1], text=QUESTION, **told)["input_ids"][0])
    assert "Worn in a trouser pocket." in asked(placement="pocket")
    assert "Worn" not in asked()
    assert "Worn at the waist." in processor.tokenizer.decode(
        processor(imu=signals.calibrate(imu[:1], placement="belt"), text=QUESTION)["input_ids"][0]
    )
    with pytest.raises(ModelError, match="'hat' is no placement"):
        asked(placement="hat")


def test_a_statistic_that_never_changes_is_not_divided_by_zero(imu):
    extractor = model.ImuFeatureExtractor().fit(np.repeat(imu[:1], 4, axis=0))
    summary = extractor(imu)["imu_summary"]
    assert torch.isfinite(summary).all()
    assert torch.isfinite(summary.half()).all(), "nor by next to nothing"


def test_acceleration_in_g_is_refused_with_the_factor(processor, imu):
    in_g = imu / np.array([9.80665] * 3 + [1.0] * 3, dtype=np.float32)
    with pytest.raises(ModelError, match=r"in g, multiply by 9\.80665"):
        processor(imu=in_g, text=QUESTION)


def test_an_unplugged_sensor_is_refused_unless_a_control_asks_for_it(processor, imu):
    with pytest.raises(ModelError, match="mean acceleration 0"):
        processor(imu=np.zeros_like(imu), text=QUESTION)
    assert (processor(imu=np.zeros_like(imu), text=QUESTION, check_units=False)["imu_values"] == 0).all()


@pytest.mark.parametrize("shape", [(119, 6), (120, 3), (2, 2, 120, 6)])
def test_a_window_of_another_shape_is_refused(processor, shape):
    with pytest.raises(ModelError, match="Windows have shape"):
        processor(imu=np.full(shape, 5.7), text=QUESTION)


def test_text_and_windows_must_agree_about_placeholders(processor, imu):
    with pytest.raises(ModelError, match=r"holds 1 <imu> for 2 window\(s\)"):
        processor(imu=imu[:2], text=processor.prompt([QUESTION]))
    with pytest.raises(ModelError, match=r"holds 1 <imu> for 0 window\(s\)"):
        processor(text=processor.prompt([QUESTION]))


def test_two_windows_fit_into_one_prompt(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    inputs = processor(imu=imu[:2], text=processor.prompt(["Which one moves more?"], windows=2))
    assert inputs["input_ids"].shape[0] == 1
    assert llasa(**inputs).imu_hidden_states.shape[:2] == (2, 9)


def test_a_window_may_come_as_array_row_or_file(processor, hapt_windows, tmp_path):
    window = np.asarray(hapt_windows[0]["imu"], dtype=np.float32)
    csv = tmp_path / "own.csv"
    table = np.column_stack([np.arange(120) / 20.0, window])
    table = np.vstack([table, table[-1] + [0.05, 0, 0, 0, 0, 0, 0]])
    names = "time,acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z"
    np.savetxt(csv, table, delimiter=",", header=names, comments="")
    expected = processor(imu=window, text=QUESTION)["imu_values"]
    torch.testing.assert_close(processor(imu=hapt_windows[0], text=QUESTION)["imu_values"], expected)
    torch.testing.assert_close(processor(imu=[hapt_windows[0]], text=QUESTION)["imu_values"], expected)
    assert processor(imu=str(csv), text=QUESTION)["imu_values"].shape == expected.shape


# --- labels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chat", ["chatml", "vicuna"])
def test_exactly_the_answers_and_their_end_marks_are_learned(chat):
    tokenizer = language_models.load_tokenizer("tiny", chat=chat)
    processor = LlasaProcessor(model.ImuFeatureExtractor(), tokenizer, tokens_per_window=3)
    tokens = processor.conversation(TURNS)
    assert len(tokens["input_ids"]) == len(tokens["labels"])
    taught, runs = "", []
    for token, label in zip(tokens["input_ids"], tokens["labels"], strict=True):
        assert label in (token, IGNORE)
        if label == IGNORE:
            runs += [taught] if taught else []
            taught = ""
        else:
            taught += tokenizer.decode([token])
    runs += [taught] if taught else []
    end = {"chatml": "<|im_end|>", "vicuna": tokenizer.eos_token}[chat]
    assert [run.strip() for run in runs] == [answer + end for _, answer in TURNS]


def test_a_conversation_begins_with_exactly_the_tokens_of_the_prompt(processor, imu):
    prompt = processor(imu=imu[0], text=QUESTION)["input_ids"][0].tolist()
    told = processor.conversation(TURNS)["input_ids"]
    assert told[: len(prompt)] == prompt
    later = processor(imu=imu[0], text=processor.prompt([*TURNS[0], TURNS[1][0]]))["input_ids"][0].tolist()
    assert told[: len(later)] == later, "a second question must read the same in training and in use"


def test_padding_on_the_right_is_never_learned(processor, imu):
    data = model.Conversations(processor, imu, [(0, TURNS[:1]), (1, TURNS)], batch_size=2, seed=0)
    batch = model.collate([data[0], data[1]], processor.tokenizer.pad_token_id)
    length = len(data[0]["input_ids"])
    assert length < batch["labels"].shape[1] == len(data[1]["input_ids"])
    assert (batch["labels"][0, length:] == IGNORE).all()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_padding_on_the_right_changes_nothing_to_its_left(llasa, processor, imu, attention):
    data = model.Conversations(processor, imu, [(0, TURNS[:1]), (1, TURNS)], batch_size=2, seed=0)
    pad = processor.tokenizer.pad_token_id
    llasa.set_attn_implementation(attention)
    alone, both = model.collate([data[0]], pad), model.collate([data[0], data[1]], pad)
    both["labels"][1] = IGNORE  # what is left is the loss of the padded conversation
    torch.testing.assert_close(llasa(**both).loss, llasa(**alone).loss, atol=1e-5, rtol=1e-5)


def test_a_batch_whose_labels_are_all_masked_is_refused(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    inputs = processor(imu=imu[:1], text=QUESTION)
    with pytest.raises(ModelError, match="Every label of the batch is masked"):
        llasa(**inputs, labels=torch.full_like(inputs["input_ids"], IGNORE))


def test_the_loss_is_the_cross_entropy_of_the_answers_tokens(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    data = model.Conversations(processor, imu, [(0, TURNS[:1]), (1, TURNS)], batch_size=2, seed=0)
    batch = model.collate([data[0], data[1]], processor.tokenizer.pad_token_id)
    labels = batch.pop("labels")
    logits = llasa(**batch).logits[:, :-1]
    mine = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORE)
    torch.testing.assert_close(llasa(**batch, labels=labels).loss, mine)


def test_logits_beside_labels_come_on_request_alone(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    inputs = processor(imu=imu[:2], text=QUESTION)
    labels = inputs["input_ids"]
    expected, lean = llasa(**inputs).logits, llasa(**inputs, labels=labels)
    assert lean.logits is None
    for kept in (0, 3, torch.tensor([1, 4])):
        both = llasa(**inputs, labels=labels, logits_to_keep=kept)
        torch.testing.assert_close(both.loss, lean.loss)
        torch.testing.assert_close(both.logits, llasa(**inputs, logits_to_keep=kept).logits)
    torch.testing.assert_close(llasa(**inputs, labels=labels, logits_to_keep=0).logits, expected)


def test_the_network_without_its_head_says_what_each_of_its_outputs_is(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    bare = AutoModel.from_config(llasa.config).eval()
    bare.load_state_dict(llasa.model.state_dict())
    inputs = processor(imu=imu[:2], text=QUESTION)
    with torch.no_grad():
        output, whole = bare(**inputs, output_hidden_states=True), llasa(**inputs)
        plain = bare(**inputs, return_dict=False)
    assert isinstance(output, ModelOutput)
    torch.testing.assert_close(output["imu_hidden_states"], whole.imu_hidden_states)
    torch.testing.assert_close(llasa.score(output.last_hidden_state), whole.logits)
    torch.testing.assert_close(output.hidden_states[-1], output.last_hidden_state)
    assert isinstance(plain, tuple)
    torch.testing.assert_close(plain[0], output.last_hidden_state)
    assert isinstance(llasa(**inputs, return_dict=False), tuple)


# --- the model ----------------------------------------------------------------------------------------------------


def test_the_published_projector_has_its_published_size():
    count = lambda *shape: sum(p.numel() for p in LlasaProjector(config(*shape)).parameters())
    assert count(576, 1, 0) == 73 * 576 + 577 * 576 == 374_400
    assert count(4096, 1, 0) == 73 * 4096 + 4097 * 4096  # 17.1 M


@pytest.mark.parametrize(("steps", "summary", "tokens"), [(1, 0, 120), (8, 0, 15), (24, 4, 9), (0, 4, 4)])
def test_tokens_per_window_follow_from_the_configuration(small_words, imu, steps, summary, tokens):
    llasa, processor = parts(small_words, steps, summary)
    inputs = processor(imu=imu[:2], text=QUESTION)
    output = llasa(**inputs)
    assert llasa.config.tokens_per_window == processor.tokens_per_window == tokens
    assert output.imu_hidden_states.shape == (2, tokens, 32)
    assert output.logits.shape[:2] == inputs["input_ids"].shape


def test_a_number_of_steps_that_does_not_divide_the_window_is_refused():
    with pytest.raises(ModelError, match="steps_per_token=7 does not divide"):
        config(64, 7, 0)


def test_standardised_soft_tokens_are_as_loud_as_words(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    soft = llasa.get_imu_features(**processor.feature_extractor(imu))
    words = llasa.get_input_embeddings().weight.square().mean().sqrt()
    assert llasa.config.standardise
    torch.testing.assert_close(soft.square().mean(-1).sqrt(), words.expand(soft.shape[:2]), rtol=0.02, atol=0)


def test_what_the_projector_reads_is_standardised_over_the_training_windows(tiny_llasa, hapt_windows):
    llasa, processor = tiny_llasa
    sensor = processor.feature_extractor(signals.to_array(hapt_windows))
    states = llasa.model.encoder(imu_values=sensor["imu_values"]).last_hidden_state
    read = (states - llasa.model.projector.state_mean) / llasa.model.projector.state_std
    assert read.mean((0, 1)).abs().max() < 1e-3
    assert (read.std((0, 1)) - 1).abs().max() < 1e-2


def test_the_published_recipe_scales_nothing():
    assert not profiles.load("paper").align.standardise
    assert not list(LlasaProjector(config(64, 1, 0)).buffers())


def test_half_precision_rounds_the_network_and_not_the_window(tiny_llasa, hapt_windows):
    """bfloat16 has steps of 0.008 near 1 g: somebody who stands sways less than that."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "patch_size": 4}
    limu_bert = LimuBertModel(LimuBertConfig(**sizes, block="pre_norm", standardise=True, fine_channels=True)).eval()
    activities = np.array(hapt_windows["activity"])
    array = signals.to_frame(signals.to_array(hapt_windows)).astype(np.float32)
    limu_bert.input.fit(torch.from_numpy(encoder.normalise(array)))
    language_model = profiles.LanguageModel(name="tiny", chat="chatml")
    llasa, processor = model.build(limu_bert, array, language_model, 24, 0, True, seed=0)
    half = llasa.eval().to(torch.bfloat16)
    exact = copy.deepcopy(half).float()  # the same weights: only what is computed with them is finer
    inputs = processor.feature_extractor(array[activities == "standing"][:32])
    with torch.no_grad():
        true, found, rounded = (
            made.get_imu_features(values, inputs["imu_summary"]).float()
            for made, values in (
                (exact, inputs["imu_values"]),
                (half, inputs["imu_values"]),
                (exact, inputs["imu_values"].bfloat16().float()),
            )
        )
    assert half.get_imu_features(**inputs).dtype == torch.bfloat16
    error, lost = ((other - true).square().mean().sqrt() / true.std() for other in (found, rounded))
    assert error < 0.02
    assert lost > 5 * error, "rounding the windows first would cost far more"


def test_a_time_step_token_sees_only_its_own_steps():
    projector = LlasaProjector(config(64, 24, 0))
    states = torch.randn(1, 120, 72)
    changed = states.clone()
    changed[:, 24:48] += 1.0
    moved = (projector(states, None) - projector(changed, None)).abs().amax(-1)[0] > 0
    assert moved.tolist() == [False, True, False, False, False]


def test_soft_tokens_stand_where_the_placeholders_stood_and_nowhere_else(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    inputs = processor(imu=imu[:2], text=QUESTION)
    embeddings = llasa.get_input_embeddings()(inputs["input_ids"]).clone()
    features = llasa.get_imu_features(inputs["imu_values"], inputs["imu_summary"])
    embeddings[inputs["input_ids"] == processor.imu_token_id] = features.flatten(0, 1)
    by_hand = llasa(inputs_embeds=embeddings, attention_mask=inputs["attention_mask"]).logits
    torch.testing.assert_close(llasa(**inputs).logits, by_hand)


def test_padding_on_the_left_changes_no_logit(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    short, long = QUESTION, "Which measurements support your answer, and which of them speak against it?"
    both = llasa(**processor(imu=imu[:2], text=[short, long])).logits[0]
    alone = llasa(**processor(imu=imu[0], text=short)).logits[0]
    assert len(both) > len(alone)
    torch.testing.assert_close(both[-len(alone) :], alone, atol=1e-4, rtol=0)


def test_generating_in_a_batch_gives_what_one_by_one_gives(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    batched = model.answers(llasa, processor, imu, QUESTION, batch_size=6, max_new_tokens=8)
    single = model.answers(llasa, processor, imu, QUESTION, batch_size=1, max_new_tokens=8)
    assert batched == single


def test_generating_with_and_without_a_cache_gives_the_same_tokens(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    inputs = processor(imu=imu[:2], text=QUESTION)
    options = {"max_new_tokens": 6, "do_sample": False}
    cached = llasa.generate(**inputs, **options)
    assert torch.equal(cached, llasa.generate(**inputs, **options, use_cache=False))


@pytest.mark.parametrize("beams", [1, 3])
def test_states_of_the_encoder_stand_in_for_the_windows_in_an_answer_too(tiny_llasa, imu, beams):
    llasa, processor = tiny_llasa
    inputs = processor(imu=imu[:2], text=QUESTION)
    options = {"max_new_tokens": 6, "do_sample": False, "num_beams": beams}
    expected = llasa.generate(**inputs, **options)
    values = inputs.pop("imu_values")
    states = llasa.model.encoder(imu_values=values).last_hidden_state
    assert torch.equal(llasa.generate(**inputs, imu_states=states, **options), expected)


def test_vectors_made_by_hand_can_be_generated_from(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    inputs = processor(imu=imu[:1], text=QUESTION)
    seats = (inputs["input_ids"] == processor.imu_token_id).unsqueeze(-1)
    soft = llasa.get_imu_features(inputs["imu_values"], inputs["imu_summary"])
    embeddings = llasa.get_input_embeddings()(inputs["input_ids"]).masked_scatter(seats, soft)
    options = {"attention_mask": inputs["attention_mask"], "max_new_tokens": 6, "do_sample": False}
    by_hand = llasa.generate(inputs_embeds=embeddings, **options)
    expected = llasa.generate(**inputs, max_new_tokens=6, do_sample=False)
    assert torch.equal(by_hand, expected[:, inputs["input_ids"].shape[1] :])


def test_another_signal_gives_other_logits_and_so_does_none(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    zeros = processor(imu=np.zeros_like(imu[:1]), text=QUESTION, check_units=False)
    logits = [llasa(**inputs).logits[0, -1] for inputs in (processor(imu=one, text=QUESTION) for one in imu[:2])]
    assert (logits[0] - logits[1]).abs().max() > 1e-4
    assert (logits[0] - llasa(**zeros).logits[0, -1]).abs().max() > 1e-4


def test_sensor_tokens_without_their_windows_are_counted_in_the_error(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    inputs = processor(imu=imu[:1], text=QUESTION)
    inputs["input_ids"] = inputs["input_ids"][:, 5:]
    with pytest.raises(ModelError, match=r"The text has \d sensor tokens, the windows need 9"):
        llasa(**inputs)


def test_the_same_seed_builds_the_same_model_whatever_was_drawn_before(hapt_windows, tiny_llasa, small_words):
    imu, language_model = signals.to_array(hapt_windows), profiles.LanguageModel(name=str(small_words), chat="chatml")
    limu_bert = tiny_llasa[0].model.encoder
    torch.manual_seed(1)
    again, _ = model.build(limu_bert, imu, language_model, 24, 4, True, seed=0)
    other, _ = model.build(limu_bert, imu, language_model, 24, 4, True, seed=1)
    assert digest(again) == digest(tiny_llasa[0])
    assert digest(other.model.projector) != digest(tiny_llasa[0].model.projector)


# --- saving -------------------------------------------------------------------------------------------------------


def test_a_saved_model_comes_back_with_the_same_logits(tiny_llasa, imu, tmp_path):
    llasa, processor = tiny_llasa
    model.save(llasa, processor, tmp_path / "model")
    back, its_processor = model.load(tmp_path / "model")
    inputs = processor(imu=imu, text=QUESTION)
    again = its_processor(imu=imu, text=QUESTION)
    assert all(torch.equal(inputs[name], again[name]) for name in inputs)
    torch.testing.assert_close(back(**again).logits, llasa(**inputs).logits)
    assert its_processor.tokenizer.padding_side == "left"
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "nothing half-written may lie beside it"


def test_no_saved_file_names_a_folder_of_this_machine(llasa, processor, tmp_path):
    llasa.save_pretrained(tmp_path / "parts")
    for part in (llasa.config.encoder_config, llasa.config.text_config):
        part._name_or_path = str(tmp_path / "parts")  # as if the parts had been loaded from there
    config = model.LlasaConfig(encoder_config=llasa.config.encoder_config, text_config=llasa.config.text_config)
    assert str(tmp_path) not in json.dumps(config.to_dict())
    model.save(tuning.add_adapter(llasa, TUNE), processor, tmp_path / "tune")
    assert not (tmp_path / "tune" / "README.md").exists()


def test_the_auto_classes_know_the_model(tiny_llasa, imu, tmp_path):
    llasa, processor = tiny_llasa
    model.save(llasa, processor, tmp_path)
    back, its_processor = AutoModelForImageTextToText.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(back, LlasaForConditionalGeneration)
    assert isinstance(its_processor, LlasaProcessor)
    inputs = its_processor(imu=imu, text=QUESTION)
    torch.testing.assert_close(back(**inputs).logits, llasa(**inputs).logits)


def test_a_cut_off_weight_file_is_named_in_one_sentence(tiny_llasa, tmp_path):
    model.save(*tiny_llasa, tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="does not hold a complete LLaSA model"):
        model.load(tmp_path)


def test_a_configuration_made_from_a_live_model_leaves_that_model_as_it_was(llasa, processor, imu):
    inputs = processor(imu=imu[:1], text=QUESTION)
    before, attention = llasa(**inputs).logits, llasa.config.text_config._attn_implementation
    made = LlasaConfig(encoder_config=llasa.config.encoder_config, text_config=llasa.config.text_config)
    made.text_config.hidden_size = 7
    assert llasa.config.text_config._attn_implementation == attention
    torch.testing.assert_close(llasa(**inputs).logits, before, rtol=0, atol=0)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "processor_config.json"])
def test_an_incomplete_folder_is_named_in_one_sentence(tiny_llasa, tmp_path, monkeypatch, missing):
    model.save(*tiny_llasa, tmp_path / "model")
    (tmp_path / "model" / missing).unlink()

    def refuse(*args, **kwargs):
        raise AssertionError("a model of the default size, seven billion parameters, was about to be built")

    if missing == "config.json":
        monkeypatch.setattr(LlasaForConditionalGeneration, "from_pretrained", refuse)
    with pytest.raises(ModelError, match="does not hold a complete LLaSA model"):
        model.load(tmp_path / "model")


# --- alignment ----------------------------------------------------------------------------------------------------


def test_alignment_changes_the_projector_and_not_one_bit_of_the_rest(llasa, processor, corpus, tmp_path):
    frozen = {name: digest(getattr(llasa.model, name)) for name in ("encoder", "language_model")}
    projector = digest(llasa.model.projector)
    # From a cold start, and of the language model alone: behind a warm-up a random model has little left to learn.
    update = {"batch_size": 4, "learning_rate": 0.01, "warm_up_epochs": 0, "contrastive_weight": 0.0}
    settings = ALIGN.model_copy(update=update | {"caption_share": 0.0})
    history = model.align(llasa, processor, corpus, settings, tmp_path / "work", seed=0)
    assert {name: digest(getattr(llasa.model, name)) for name in frozen} == frozen
    assert digest(llasa.model.projector) != projector
    assert llasa.lm_head.weight is llasa.get_input_embeddings().weight, "tied weights must stay tied"
    assert history[-1]["loss"] < history[0]["loss"]
    model.save(llasa, processor, tmp_path / "saved")
    assert model.load(tmp_path / "saved")[0].config.activities == sorted(set(corpus["activity"]))


def test_the_gradient_reaches_every_weight_of_the_projector_through_the_frozen_model(llasa, processor, imu):
    training.freeze(llasa)
    llasa.model.projector.requires_grad_(True)
    data = model.Conversations(processor, imu, [(0, TURNS[:1]), (1, TURNS[:1])], batch_size=2, seed=0)
    llasa(**model.collate([data[0], data[1]], processor.tokenizer.pad_token_id)).loss.backward()
    for name, weight in llasa.named_parameters():
        assert (weight.grad is not None) == ("projector" in name), name
    assert all(weight.grad.abs().max() > 0 for weight in llasa.model.projector.parameters())


def gradients(monkeypatch, train):
    """Gradient of every trained weight at each update of a training."""
    found, fit = [], training.fit

    def look(step, model):
        if step:
            found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})

    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", lambda *args, **kwargs: fit(*args, **kwargs, on_step=look, max_grad_norm=1e9))
        train()
    return found


@pytest.mark.parametrize(("stage", "contrastive_weight"), [("align", 0.0), ("align", 1.0), ("tune", None)])
def test_two_halves_of_a_batch_give_the_gradient_of_the_whole(
    tiny_llasa, processor, corpus, tmp_path, monkeypatch, stage, contrastive_weight
):
    """Answers differ in length, and every token counts the same, whichever half it is in."""
    eight = corpus.select(range(8))
    whole, halves = [], []
    for batch_size, accumulate, kept in ((8, 1, whole), (4, 2, halves)):
        update = {"batch_size": batch_size, "accumulate": accumulate, "epochs": 1}
        llasa = copy.deepcopy(tiny_llasa[0])

        def train(llasa=llasa, update=update):
            if stage == "align":
                changes = {"warm_up_epochs": 0, "contrastive_weight": contrastive_weight, "caption_share": 0.5}
                settings = ALIGN.model_copy(update=update | changes)
                model.align(llasa, processor, eight, settings, tmp_path, seed=0)
            else:
                tuning.tune(llasa, processor, eight, TUNE.model_copy(update=update), tmp_path, seed=0)

        kept += gradients(monkeypatch, train)
    assert len(whole) == len(halves) == 1
    assert set(whole[0]) == set(halves[0])
    for name, gradient in whole[0].items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(halves[0][name], gradient, rtol=0, atol=1e-4 * scale + 1e-9, msg=name)
    assert any(gradient.any() for gradient in whole[0].values())


# --- the contrastive loss -----------------------------------------------------------------------------------------


def test_the_contrastive_loss_is_half_of_every_token_and_half_of_their_mean():
    """By hand: at temperature 1, cosines (1, 0) cost a = ln(1 + 1/e), (0, 1) cost 1 + a, and equal ones ln 2."""
    directions = torch.eye(2)
    a, ln2 = np.log(1 + np.exp(-1)), np.log(2)
    apart = torch.tensor([[[3.0, 0.0], [0.0, 3.0]]])  # one token each way: the mean lies in between
    both = (a + (1 + a)) / 2
    assert both != pytest.approx(ln2, abs=0.1)
    loss = model.contrastive_loss(apart, directions, torch.tensor([0]), temperature=1.0)
    assert loss.item() == pytest.approx((both + ln2) / 2, abs=1e-6)
    uneven = torch.tensor([[[4.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [5.0, 0.0]]])  # the long token leads the mean
    length = np.hypot(4, 1)
    mean = np.log(1 + np.exp((1 - 4) / length))  # of the first window; in the second all agree
    loss = model.contrastive_loss(uneven, directions, torch.tensor([0, 0]), temperature=1.0)
    assert loss.item() == pytest.approx(((a + 1 + a + a + a) / 4 + (mean + a) / 2) / 2, abs=1e-6)
    sharp = model.contrastive_loss(apart, directions, torch.tensor([1]), temperature=0.5)
    assert sharp.item() == pytest.approx(((np.log(1 + np.exp(-2)) * 2 + 2) / 2 + ln2) / 2, abs=1e-6)


# --- warm-up ------------------------------------------------------------------------------------------------------


def test_word_directions_have_length_one_and_a_common_centre(tiny_llasa):
    names = ["walking", "climbing stairs", "lying"]
    targets = model.word_targets(*tiny_llasa, names)
    torch.testing.assert_close(targets.norm(dim=-1), torch.ones(3))
    ids = tiny_llasa[1].tokenizer(" climbing stairs").input_ids
    words = tiny_llasa[0].get_input_embeddings().weight[ids].mean(0)
    assert (targets @ words).argmax() == 1, "a direction belongs to all the words of its own name"


def test_the_warm_up_teaches_the_projector_alone_and_runs_no_language_model(llasa, processor, corpus, monkeypatch):
    frozen = {name: digest(getattr(llasa.model, name)) for name in ("encoder", "language_model")}
    projector = digest(llasa.model.projector)

    def run(*args, **kwargs):
        raise AssertionError("the language model was run")

    monkeypatch.setattr(type(llasa.model.language_model), "forward", run)
    settings = ALIGN.model_copy(update={"warm_up_epochs": 6, "warm_up_learning_rate": 0.01})
    losses = model.warm_up(llasa, processor, corpus, settings, seed=0)
    assert len(losses) == 6
    assert losses[-1] < 0.9 * losses[0]
    assert {name: digest(getattr(llasa.model, name)) for name in frozen} == frozen
    assert digest(llasa.model.projector) != projector


def test_without_passes_the_warm_up_changes_nothing(llasa, processor, corpus):
    before = digest(llasa)
    assert model.warm_up(llasa, processor, corpus, ALIGN.model_copy(update={"warm_up_epochs": 0}), seed=0) == []
    assert digest(llasa) == before


# --- what alignment reads -----------------------------------------------------------------------------------------


def test_half_an_epoch_of_alignment_sees_half_the_windows_once(corpus):
    samples = model.alignment_samples(corpus, epochs=0.5, caption_share=0.0, seed=0)
    rows = [row for row, _ in samples]
    assert len(rows) == len(set(rows)) == len(corpus) // 2


def test_the_share_of_captions_is_what_was_asked_for(corpus):
    for share in (0.0, 1.0):
        samples = model.alignment_samples(corpus, epochs=1, caption_share=share, seed=0)
        assert np.mean([model.CAPTION_PROMPT in turns[0][0] for _, turns in samples]) == share
    some = model.alignment_samples(corpus, epochs=5, caption_share=0.25, seed=0)
    assert 0.15 < np.mean([model.CAPTION_PROMPT in turns[0][0] for _, turns in some]) < 0.35


def test_what_alignment_teaches_about_a_window_is_said_about_that_window(corpus):
    for row, ((question, answer),) in model.alignment_samples(corpus, epochs=1, caption_share=0.5, seed=0):
        assert question.startswith("Worn ") == bool(corpus[row]["told"])
        if model.CAPTION_PROMPT in question:
            assert answer == corpus[row]["caption"]
        else:
            assert answer == questions.recognition_answer(corpus[row]["activity"])


def test_a_text_longer_than_the_context_is_refused_with_both_lengths(tiny_llasa):
    llasa, processor = tiny_llasa
    context = llasa.config.text_config.max_position_embeddings
    ids = torch.full((1, context + 1), processor.tokenizer.eos_token_id)
    with pytest.raises(ModelError, match=rf"{context + 1} tokens long.*context holds {context}\."):
        llasa(input_ids=ids)


def test_the_folder_of_another_model_is_refused_and_gives_no_random_weights(tmp_path):
    LimuBertModel(LimuBertConfig()).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="'limu_bert' model, not of a LLaSA model"):
        LlasaForConditionalGeneration.from_pretrained(tmp_path)
