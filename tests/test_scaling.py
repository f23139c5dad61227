"""The arithmetic of chapter 7: parameters against models without memory, operations and bytes against torch."""

import copy
import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from llasa_lib import encoder, model, profiles, questions, scaling, signals, training, tuning
from llasa_lib.errors import ModelError

SIZES = {  # hidden, layers, heads, feed-forward
    "vicuna-7b": (4096, 32, 32, 11008),
    "vicuna-13b-16k": (5120, 40, 40, 13824),
}
PUBLISHED = {"vicuna-7b": 6_738_415_616, "vicuna-13b-16k": 13_015_864_320}
# Names that Transformers is giving up, in releases that still need them.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
every_vicuna = pytest.mark.parametrize("name", SIZES)


def vicuna(name, words=32000):
    """The configuration that is published beside the weights, as far as it bears on sizes."""
    hidden, layers, heads, inner = SIZES[name]
    longer = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0} if name.endswith("16k") else None
    return LlamaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        vocab_size=words,
        max_position_embeddings=4096,
        rope_parameters=longer,
        tie_word_embeddings=False,
    )


def without_memory(text_config, **options):
    """A whole LLaSA model on the meta device: shapes, and no numbers. Its vocabulary ends with <imu>."""
    config = model.LlasaConfig(
        encoder_config=encoder.LimuBertConfig(),
        text_config=text_config,
        imu_token_id=text_config.vocab_size - 1,
        **options,
    )
    with torch.device("meta"):
        return model.LlasaForConditionalGeneration(config)


@pytest.fixture(scope="module", params=SIZES)
def whole(request):
    return request.param, without_memory(vicuna(request.param, words=32001))


@every_vicuna
def test_vicuna_has_the_published_number_of_parameters(name):
    with torch.device("meta"):
        counted = training.count(LlamaForCausalLM(vicuna(name)))[1]
    assert scaling.parameters(vicuna(name)).total == counted == PUBLISHED[name]


def test_the_whole_model_is_encoder_projector_language_model_and_one_more_word(whole):
    name, llasa = whole
    hidden = SIZES[name][0]
    one_word = 2 * hidden  # a row of the word matrix, and one of the head
    projector = scaling.projector_parameters(72, hidden)
    assert training.count(llasa.model.projector)[1] == projector
    assert training.count(llasa)[1] == 51_552 + projector + PUBLISHED[name] + one_word
    assert scaling.parameters(llasa.config.text_config).total == PUBLISHED[name] + one_word


def test_the_published_projector_has_17_million_parameters_at_seven_billion():
    assert round(scaling.projector_parameters(72, 4096) / 1e6, 1) == 17.1
    assert round(scaling.projector_parameters(72, 576) / 1e6, 2) == 0.37


def test_the_adapter_of_the_paper_has_as_many_parameters_as_the_formula_says(whole):
    name, llasa = whole
    settings = profiles.load("paper").tune
    with torch.device("meta"):
        adapted = tuning.add_adapter(copy.deepcopy(llasa), settings)
    adapter = {name: value for name, value in adapted.named_parameters() if "lora_" in name}
    assert set(settings.targets) == set(scaling.MATRICES)
    assert sum(value.numel() for value in adapter.values()) == scaling.lora_parameters(vicuna(name), settings.rank)
    hidden, layers, _, inner = SIZES[name]
    assert len(adapter) == 2 * 7 * layers
    down = {key.split("lora_")[1][0]: tuple(value.shape) for key, value in adapter.items() if "31.mlp.down_proj" in key}
    assert down == {"A": (8, inner), "B": (hidden, 8)}
    trained = training.count(adapted)[0]
    step = scaling.Step(vicuna(name), 1, 200, 80, train="lora", rank=settings.rank)
    assert step.trained == trained


def test_a_window_becomes_120_tokens_as_wide_as_a_word(whole):
    name, llasa = whole
    hidden = SIZES[name][0]
    imu, summary = torch.empty(2, 120, 6, device="meta"), torch.empty(2, 446, device="meta")
    assert llasa.get_imu_features(imu, summary).shape == (2, 120, hidden)
    with torch.device("meta"):
        states = llasa.model.encoder(imu_values=imu).last_hidden_state
        assert states.shape == (2, 120, 72)
        read = llasa.model.language_model(inputs_embeds=torch.empty(2, 150, hidden)).last_hidden_state
        assert llasa.lm_head(read[:, -1]).shape == (2, 32001)


def small(attention="sdpa", words=500, tied=False, checkpointing=False):
    """A language model that runs in milliseconds, with fewer keys than queries as modern ones have."""
    config = LlamaConfig(
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=5,
        num_attention_heads=8,
        num_key_value_heads=4,
        vocab_size=words,
        tie_word_embeddings=tied,
        attn_implementation=attention,
    )
    torch.manual_seed(0)
    llama = LlamaForCausalLM(config)
    if checkpointing:
        llama.gradient_checkpointing_enable()
        llama.train()
    return llama


BATCH, LENGTH, TAUGHT = 3, 40, 9


def loss_of(llama, embedded):
    """Cross-entropy of the last TAUGHT tokens; only they go through the head, as in LLaSA."""
    hidden = llama.model(inputs_embeds=embedded).last_hidden_state[:, -TAUGHT:].flatten(0, 1)
    target = torch.arange(len(hidden)) % llama.config.vocab_size
    return torch.nn.functional.cross_entropy(llama.lm_head(hidden).float(), target)


def embedded():
    return torch.randn(BATCH, LENGTH, 128, generator=torch.Generator().manual_seed(1), requires_grad=True)


@pytest.mark.parametrize("train", ["nothing", "projector", "full"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_operations_of_a_step_are_those_that_torch_counts(train, tied):
    llama = small("eager", tied=tied)  # torch does not count the fused attention of a CPU
    llama.requires_grad_(train == "full")
    with FlopCounterMode(display=False) as counter:
        loss = loss_of(llama, embedded())
        if train != "nothing":
            loss.backward()
    predicted = scaling.Step(llama.config, BATCH, LENGTH, TAUGHT, train=train).flops()
    assert predicted == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_checkpointing_costs_one_more_forward_pass_of_the_layers():
    llama = small("eager", checkpointing=True).requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        loss_of(llama, embedded()).backward()
    predicted = scaling.Step(llama.config, BATCH, LENGTH, TAUGHT, checkpointing=True).flops()
    assert predicted == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_an_adapter_adds_its_own_operations_and_no_others():
    settings = profiles.load("paper").tune.model_copy(update={"dropout": 0.0})
    llama = adapted(small("eager"), settings)
    with FlopCounterMode(display=False) as counter:
        loss_of(llama, embedded()).backward()
    predicted = scaling.Step(llama.config, BATCH, LENGTH, TAUGHT, train="lora", rank=settings.rank).flops()
    assert predicted == pytest.approx(counter.get_total_flops(), rel=0.02)


def adapted(llama, settings):
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=settings.rank, lora_dropout=settings.dropout, target_modules=list(settings.targets))
    return inject_adapter_in_model(config, llama.requires_grad_(False)).train()


def saved_bytes(llama, read):
    """Bytes that autograd saves on the way in, each storage once, weights left out."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in llama.parameters()}
    saved, alive = {}, []

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # what is freed could be counted again at the same place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss_of(llama, read)
    return sum(saved.values())


@pytest.mark.parametrize(
    ("train", "dropout"), [("projector", 0.0), ("lora", 0.0), ("lora", 0.05), ("full", 0.0)], ids=str
)
def test_saved_activations_are_those_that_autograd_keeps(train, dropout):
    settings = profiles.load("paper").tune.model_copy(update={"dropout": dropout})
    llama = small().requires_grad_(train == "full")
    if train == "lora":
        llama = adapted(llama, settings)
    step = scaling.Step(
        llama.config,
        BATCH,
        LENGTH,
        TAUGHT,
        train=train,
        rank=settings.rank,
        element=4,
        dropout_mask=4 if dropout else 0,
    )
    assert step.activations() == pytest.approx(saved_bytes(llama, embedded()), rel=0.02)


def test_with_checkpointing_the_inputs_of_the_layers_are_what_stays():
    llama = small(checkpointing=True).requires_grad_(False)
    step = scaling.Step(llama.config, BATCH, LENGTH, TAUGHT, element=4, checkpointing=True)
    again = step.activations() - saved_bytes(llama, embedded())  # one layer is computed again, one at a time
    plain = scaling.Step(llama.config, BATCH, LENGTH, TAUGHT, element=4)
    assert again == pytest.approx(plain.activations() / llama.config.num_hidden_layers, rel=0.15)
    assert step.activations() < 0.5 * plain.activations()


def paper(train="lora", **options):
    return scaling.Step(vicuna("vicuna-7b"), 8, 270, 150, train=train, **options)


def test_sharding_divides_what_is_kept_and_leaves_activations_alone():
    copied, sharded = paper("full").memory(4), paper("full").memory(4, sharded=True)
    assert copied == paper("full").memory(1)
    assert (copied.weights, copied.gradients, copied.optimiser) == tuple(
        4 * part for part in (sharded.weights, sharded.gradients, sharded.optimiser)
    )
    assert sharded.activations == copied.activations
    assert 0 < sharded.gathered < 2 * PUBLISHED["vicuna-7b"]
    assert paper("full").memory(1, sharded=True) == paper("full").memory(1)


def test_full_training_holds_sixteen_bytes_for_each_parameter():
    held = paper("full").memory()
    assert held.weights + held.gradients + held.optimiser == 16 * paper("full").trained
    assert held.total == held.weights + held.gradients + held.optimiser + held.activations


def test_four_bits_quarter_the_matrices_and_nothing_else():
    count = scaling.parameters(vicuna("vicuna-7b"))
    saved = paper().memory().weights - paper(four_bit=True).memory().weights
    assert saved == pytest.approx(count.matrices * (2 - 0.5625))


def test_weights_are_read_once_for_any_number_of_answers():
    config, element = small().config, 4
    alone, many = (scaling.decode_bytes(config, batch, 20, element) for batch in (1, 16))
    assert many - alone == 15 * scaling.cache_bytes(config, 20, element)
    assert scaling.decode_flops(config, 16, 20) == 16 * scaling.decode_flops(config, 1, 20)


def test_the_cache_is_as_large_as_the_one_that_transformers_fills():
    llama = small()
    with torch.no_grad():
        cache = llama(torch.zeros(2, 7, dtype=torch.long), use_cache=True).past_key_values
    held = sum(part.numel() * part.element_size() for layer in cache.layers for part in (layer.keys, layer.values))
    assert held == 2 * scaling.cache_bytes(llama.config, 7, element=4)


def test_one_more_token_costs_the_operations_that_torch_counts():
    llama = small("eager")
    with torch.no_grad():
        cache = llama(torch.zeros(4, 30, dtype=torch.long), use_cache=True).past_key_values
        with FlopCounterMode(display=False) as counter:
            llama(torch.zeros(4, 1, dtype=torch.long), past_key_values=cache)
    assert scaling.decode_flops(llama.config, 4, 31) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_time_is_the_slower_of_arithmetic_and_memory():
    machine = scaling.Machine(flops=100.0, bandwidth=10.0, memory=1.0, watts=1.0, source="made up")
    assert scaling.seconds(1000.0, 1.0, machine, utilisation=0.5) == 20.0
    assert scaling.seconds(1.0, 1000.0, machine, utilisation=0.5) == 100.0
    for share in (0.0, 1.1):
        with pytest.raises(ModelError, match="utilisation"):
            scaling.seconds(1.0, 1.0, machine, share)


def test_a_million_hours_are_six_hundred_million_windows():
    assert scaling.windows(1e6) == 600_000_000
    one = paper()
    hours = scaling.device_hours(one, 800, scaling.MACHINES["A100-80GB"])
    assert hours == pytest.approx(100 * scaling.seconds(one.flops(), one.bytes(), scaling.MACHINES["A100-80GB"]) / 3600)


def test_every_machine_says_where_its_peaks_are_written():
    assert all("data sheet" in machine.source for machine in scaling.MACHINES.values())


def test_a_step_that_cannot_be_is_refused():
    for change, said in (
        ({"train": "lorra"}, "lorra"),
        ({"batch": 0}, "at least one"),
        ({"taught": 300}, "300 of 270"),
    ):
        with pytest.raises(ModelError, match=said):
            dataclasses.replace(paper(), **change)


def test_colab_trains_and_answers_in_the_memory_of_a_t4(hapt_windows, tiny_llasa):
    profile, processor = profiles.load("colab"), tiny_llasa[1]
    assert profile.language_model.name == "HuggingFaceTB/SmolLM2-1.7B-Instruct"
    # As published beside the weights.
    config = LlamaConfig(
        hidden_size=2048,
        num_hidden_layers=24,
        num_attention_heads=32,
        intermediate_size=8192,
        vocab_size=49152,
        tie_word_embeddings=True,
    )
    align, tune, evaluate = profile.align, profile.tune, profile.evaluate
    corpus = questions.make_corpus(hapt_windows)
    soft = signals.LENGTH // align.steps_per_token + align.summary_tokens

    def step(settings, talks, train):
        """A batch, padded to its longest conversation; there are longer ones than those of three people."""
        rows = [processor.conversation(talk) for talk in talks]
        length = 1.1 * max(len(row["input_ids"]) for row in rows) + soft - processor.tokens_per_window
        taught = 1.1 * max(sum(label != model.IGNORE for label in row["labels"]) for row in rows)
        options = {"rank": tune.rank, "dropout_mask": 1 if tune.dropout else 0, "projector_width": 512}
        return scaling.Step(config, settings.batch_size, length, taught, train, **options)

    packed = [talk for _, talk in tuning.tuning_samples(corpus, tune.turns, 1, 0, tune.measured_share)]
    alone = [[(questions.RECOGNITION_QUESTION, text)] for text in corpus["caption"]]
    asked = step(evaluate, packed, "nothing")
    answers = scaling.cache_bytes(config, asked.tokens + evaluate.batch_size * evaluate.max_new_tokens)
    held = {
        "tune": step(tune, packed, "lora").memory().total,
        "align": step(align, alone, "projector").memory().total,
        "compare": step(profile.compare, alone, "projector").memory().total,
        "evaluate": asked.memory().total + answers,
    }
    # 15 GB are what the driver leaves of 16; kernels, and the allocator's fragments, need a tenth of them.
    assert {name: round(size / 1e9, 1) for name, size in held.items() if size > 0.9 * 15e9} == {}
    assert tune.batch_size * tune.accumulate == 16
    assert step(tune.model_copy(update={"batch_size": 8}), packed, "lora").memory().total > 0.9 * 15e9
