"""What a reader can get wrong with a model: each ends in one sentence that says what to do."""

import contextlib
import copy
import json
import pickle
import re
import shutil

import numpy as np
import pytest
import torch
from damage import NO_OBJECTS
from safetensors.torch import load_file, save_file

from llasa_lib import encoder, language_models, model, profiles, signals, tuning
from llasa_lib.errors import LlasaError, ModelError
from llasa_lib.model import LlasaConfig, LlasaForConditionalGeneration, Prompt, bases

TUNE = profiles.load("smoke").tune
QUESTION = "What is the person doing?"
BROKEN = "does not hold a complete LLaSA model"


@pytest.fixture(scope="module")
def imu(hapt_windows):
    return signals.to_array(hapt_windows)[:3]


@pytest.fixture(scope="module")
def stages(tiny_llasa, tmp_path_factory):
    """A folder with ``align`` and the adapter ``tune`` on top of it, as the pipeline lays them out."""
    home = tmp_path_factory.mktemp("stages")
    model.save(*tiny_llasa, home / "align")
    llasa, processor = model.load(home / "align", dtype=torch.float32)
    model.save(tuning.add_adapter(llasa, TUNE), processor, home / "tune")
    return home


@pytest.fixture
def copied(stages, tmp_path):
    """Both folders, to be damaged."""
    shutil.copytree(stages, tmp_path / "stages")
    return tmp_path / "stages"


def rename_base(folder, name):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": str(name)}))


# --- text and windows ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("windows", "text", "message"),
    [
        (lambda imu: None, Prompt("<imu> What?"), r"holds 1 <imu> for 0 window"),
        (lambda imu: imu[0], Prompt("<imu> <imu> What?"), r"holds 2 <imu> for 1 window"),
        (lambda imu: imu[:2], Prompt("<imu> What?"), r"holds 1 <imu> for 2 window"),
        (lambda imu: imu[:2], [Prompt("<imu> What?")] * 3, r"holds 3 <imu> for 2 window"),
        (lambda imu: [[imu[0], imu[1]]], Prompt("<imu> What?"), r"text 0 holds 1 <imu> for 2 window"),
        (lambda imu: [[imu[0]], []], Prompt("<imu> What?"), r"text 1 holds 1 <imu> for 0 window"),
        (lambda imu: [[imu[0]], [imu[1]]], ["What?"], r"1 text\(s\) for 2 lists of windows"),
        (lambda imu: imu[:0], QUESTION, "There is no window: give at least one"),
        (lambda imu: [], QUESTION, "There is no window: give at least one"),
        (lambda imu: imu[:2], [], "There is no text: give a question"),
        (lambda imu: None, None, "There is no text: give a question"),
        (lambda imu: imu[0], None, "There is no text: give a question"),
    ],
)
def test_texts_and_windows_that_do_not_match_are_told_apart(tiny_llasa, imu, windows, text, message):
    with pytest.raises(ModelError, match=message):
        tiny_llasa[1](imu=windows(imu), text=text)


@pytest.mark.parametrize("change", [lambda x: x[:, :9], lambda x: torch.cat([x, x[:, 9:10]], 1)])
def test_tokens_that_were_cut_or_repeated_are_counted(tiny_llasa, imu, change):
    llasa, processor = tiny_llasa
    inputs = processor(imu=imu[:2], text=QUESTION)
    inputs["input_ids"] = change(inputs["input_ids"])
    inputs["input_ids"][:, -1] = processor.imu_token_id
    inputs.pop("attention_mask")
    with pytest.raises(ModelError, match=r"The text has \d+ sensor tokens, the windows need 18"):
        llasa(**inputs)


# --- the context --------------------------------------------------------------------------------------------------


def test_a_text_longer_than_the_context_is_refused_with_its_length(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    inputs = processor(imu=imu[:1], text="walk " * 600)
    with pytest.raises(ModelError, match=r"The text is \d+ tokens long, 9 per window; .* holds 512"):
        llasa(**inputs)


def test_what_lies_in_the_cache_counts_as_context(tiny_llasa, imu):
    llasa, processor = tiny_llasa
    with torch.no_grad():
        first = llasa(**processor(imu=imu[:1], text="walk " * 300), use_cache=True)
        with pytest.raises(ModelError, match=r"tokens long.*holds 512"):
            llasa(**processor(text="walk " * 300), past_key_values=first.past_key_values)


@pytest.mark.parametrize("adapted", [False, True])
def test_generation_stops_before_it_would_run_past_the_context(llasa, tiny_llasa, imu, adapted):
    asked = tuning.add_adapter(llasa, TUNE).eval() if adapted else llasa
    inputs = tiny_llasa[1](imu=imu[:1], text="walk " * 450)
    length = inputs["input_ids"].shape[1]
    assert length < 500
    with pytest.raises(ModelError, match=rf"prompt is {length} tokens.*Use max_new_tokens={512 - length} or less"):
        asked.generate(**inputs, max_new_tokens=512 - length + 1)
    with pytest.raises(ModelError, match=r"context holds 512"):
        asked.generate(**inputs, max_length=513)
    most = asked.generate(**inputs, max_new_tokens=512 - length, do_sample=False)
    assert most.shape[1] <= 512


def test_generation_from_vectors_counts_them(llasa):
    vectors = llasa.get_input_embeddings()(torch.full((1, 500), 5))
    with pytest.raises(ModelError, match=r"prompt is 500 tokens long and 13 more"):
        llasa.generate(inputs_embeds=vectors, max_new_tokens=13)
    assert llasa.generate(inputs_embeds=vectors, max_new_tokens=12, do_sample=False).shape[1] <= 12


def test_the_default_length_of_an_answer_is_cut_at_the_context(llasa, recwarn):
    ids = torch.full((1, 505), 5)
    assert llasa.generate(input_ids=ids, do_sample=False, eos_token_id=-1).shape[1] == 512
    with pytest.raises(ModelError, match=r"prompt is 512 tokens"):
        llasa.generate(input_ids=torch.full((1, 512), 5))


def test_windows_beside_vectors_are_refused(llasa, tiny_llasa, imu):
    inputs = tiny_llasa[1](imu=imu[0], text=QUESTION)
    vectors = llasa.get_input_embeddings()(inputs.pop("input_ids"))
    with pytest.raises(ModelError, match="Windows need input_ids"):
        llasa(inputs_embeds=vectors, **inputs)


def test_windows_without_their_statistics_are_refused(llasa, tiny_llasa, imu):
    inputs = tiny_llasa[1](imu=imu[0], text=QUESTION)
    inputs.pop("imu_summary")
    with pytest.raises(ModelError, match="imu_summary is missing"):
        llasa(**inputs)


def test_a_prompt_is_not_read_in_pieces(llasa, tiny_llasa, imu):
    inputs = tiny_llasa[1](imu=imu[0], text=QUESTION)
    with pytest.raises(ModelError, match="leave out prefill_chunk_size"):
        llasa.generate(**inputs, max_new_tokens=2, prefill_chunk_size=8)


@pytest.mark.parametrize(("steps", "summary"), [(0, 0), (-8, 4), (8, -1)])
def test_a_window_without_a_token_is_refused(steps, summary):
    with pytest.raises(ModelError, match="give a window no token"):
        LlasaConfig(steps_per_token=steps, summary_tokens=summary)


def test_a_chat_template_that_rewrites_earlier_turns_is_refused(tiny_llasa):
    processor = copy.deepcopy(tiny_llasa[1])
    processor.chat_template = processor.tokenizer.chat_template = (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ': ' }}"
        "{% if loop.last %}{{ '<think></think>' }}{% endif %}{{ message['content'] + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant: ' }}{% endif %}"
    )
    with pytest.raises(ModelError, match="writes earlier turns in another way"):
        processor.conversation([("What is it?", "A walk."), ("Why?", "It moves.")])


# --- adapters -----------------------------------------------------------------------------------------------------


def test_an_adapter_finds_its_base_beside_it_and_where_it_was_trained(stages, copied, tmp_path):
    assert model.load(copied / "tune")[0]
    shutil.copytree(copied / "tune", tmp_path / "alone")
    rename_base(tmp_path / "alone", stages / "align")
    assert model.load(tmp_path / "alone")[0]


def test_an_adapter_of_a_model_on_the_hub_does_not_take_its_neighbour(copied):
    (copied / "tune" / bases.NOTE).unlink()
    rename_base(copied / "tune", "somebody/llasa")
    assert bases.find(copied / "tune") == "somebody/llasa"


def test_an_adapter_without_any_base_says_where_it_looked(copied, tmp_path):
    shutil.rmtree(copied / "align")
    rename_base(copied / "tune", tmp_path / "gone")
    with pytest.raises(ModelError, match=f"{BROKEN}.*neither at .*align nor at .*gone"):
        model.load(copied / "tune")


def test_an_adapter_whose_base_was_made_anew_is_refused(copied):
    llasa, processor = model.load(copied / "align", dtype=torch.float32)
    with torch.no_grad():
        llasa.model.projector.summary_1.weight.add_(0.001)
    model.save(llasa, processor, copied / "align")
    rename_base(copied / "tune", copied / "align")
    with pytest.raises(ModelError, match=r"trained on another model than the one in .*align.*llasa tune"):
        model.load(copied / "tune")


def test_an_adapter_of_a_model_of_other_sizes_is_refused(copied, hapt_windows, tiny_llasa, small_words):
    language_model = profiles.LanguageModel(name=str(small_words), chat="chatml")
    limu_bert, windows = tiny_llasa[0].model.encoder, signals.to_array(hapt_windows)
    wider = model.build(limu_bert, windows, language_model, 40, 6, True, seed=0)  # as many tokens, other projector
    model.save(*wider, copied / "align")
    rename_base(copied / "tune", copied / "align")
    with pytest.raises(ModelError, match="trained on another model"):
        model.load(copied / "tune")
    (copied / "tune" / "base_model.json").unlink()  # as adapters were saved before
    with pytest.raises(ModelError, match="belongs to a model of other sizes"):
        model.load(copied / "tune")


@pytest.mark.parametrize("text", [*NO_OBJECTS, b"{}", b'{"fingerprint": 3}', b'{"fingerprint": ["a"]}'])
def test_a_damaged_note_about_the_base_is_not_believed(copied, text):
    (copied / "tune" / bases.NOTE).write_bytes(text)
    with pytest.raises(ModelError, match=BROKEN) as caught:
        model.load(copied / "tune")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", [*NO_OBJECTS, b'{"base_model_name_or_path": 3}', b'{"base_model_name_or_path": ["a"]}']
)
def test_a_damaged_description_of_an_adapter_is_not_believed(copied, text):
    (copied / "tune" / "adapter_config.json").write_bytes(text)
    with pytest.raises(ModelError, match=BROKEN) as caught:
        model.load(copied / "tune")
    assert "\n" not in str(caught.value)


def test_an_adapter_that_lacks_a_weight_is_refused_by_its_name(copied):
    path = copied / "tune" / "adapter_model.safetensors"
    weights = load_file(path)
    gone = next(name for name in weights if "lora_B" in name)
    save_file({name: value for name, value in weights.items() if name != gone}, path)
    with pytest.raises(ModelError, match=rf"{BROKEN} \(no weights for {gone}"):
        model.load(copied / "tune")


# --- files cut short ----------------------------------------------------------------------------------------------

WEIGHTS = ["align/model.safetensors", "tune/adapter_model.safetensors"]
TEXTS = ["align/config.json", "align/processor_config.json", "align/tokenizer.json", "tune/adapter_config.json"]


@pytest.mark.parametrize(
    ("name", "share"), [*((n, s) for n in WEIGHTS for s in (0.0, 0.3, 0.9999)), *((n, 0.7) for n in TEXTS)]
)
def test_a_file_cut_short_is_refused_in_one_sentence(copied, name, share):
    path = copied / name
    content = path.read_bytes()
    path.write_bytes(content[: min(int(len(content) * share), len(content) - 2)])
    with pytest.raises(ModelError, match=BROKEN) as caught:
        model.load(path.parent)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "missing", "forgotten"])
def test_a_shard_that_is_not_whole_is_refused(tiny_llasa, tmp_path, damage):
    llasa, processor = tiny_llasa
    llasa.save_pretrained(tmp_path, max_shard_size="1MB")
    processor.save_pretrained(tmp_path)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert model.load(tmp_path)[0]
    if damage == "cut":
        shards[-1].write_bytes(shards[-1].read_bytes()[:-7])
    elif damage == "missing":
        shards[-1].unlink()
    else:
        index = tmp_path / "model.safetensors.index.json"
        table = json.loads(index.read_text())
        table["weight_map"] = {k: v for k, v in table["weight_map"].items() if "projector" not in k}
        index.write_text(json.dumps(table))
        weights = load_file(shards[-1])
        save_file({k: v for k, v in weights.items() if "projector" not in k}, shards[-1], {"format": "pt"})
    with pytest.raises(ModelError, match=BROKEN):
        model.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("processor_config.json", "tokens_per_window", 4, "the processor makes 4 tokens of a window, the model 9"),
        ("config.json", "imu_token_id", 7, "<imu> is token 8192, the model looks for 7"),
    ],
)
def test_a_processor_of_another_model_is_refused(copied, name, key, value, message):
    path = copied / "align" / name
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ModelError, match=message):
        model.load(copied / "align")


def test_a_tokenizer_without_the_placeholder_is_given_it_again_or_refused(copied, small_words):
    language_models.load_tokenizer(str(small_words), chat="chatml").save_pretrained(copied / "align")
    _, processor = model.load(copied / "align")
    assert processor.imu_token_id == 8192, "the placeholder is the first added token, so it gets its number again"
    longer = language_models.load_tokenizer(str(small_words), chat="chatml")
    longer.add_tokens(["<another>"])
    longer.save_pretrained(copied / "align")
    with pytest.raises(ModelError, match="<imu> is token 8193, the model looks for 8192"):
        model.load(copied / "align")


# --- weights and programs of others -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "value"),
    [  # each part, and in model and adapter each value
        ("align/model.safetensors: projector.*weight", np.nan),
        ("align/model.safetensors: projector.*bias", np.inf),
        ("align/model.safetensors: model.encoder.*weight", -np.inf),
        ("align/model.safetensors: embed_tokens|lm_head", np.nan),
        ("align/model.safetensors: language_model.norm", np.inf),
        ("tune/adapter_model.safetensors: lora_A", np.nan),
        ("tune/adapter_model.safetensors: lora_B", np.inf),
        ("tune/adapter_model.safetensors: projector", -np.inf),
    ],
)
def test_a_weight_that_is_no_number_is_refused_by_its_name(copied, part, value):
    name, pattern = part.split(": ")
    weights = load_file(copied / name)
    odd = sorted(key for key in weights if re.search(pattern, key))[-1]
    weights[odd].view(-1)[-1] = value
    save_file(weights, copied / name, {"format": "pt"})
    if name.startswith("align"):
        (copied / "tune" / bases.NOTE).unlink()  # asked for its base, the adapter would be refused for another reason
    for folder in {(copied / name).parent, copied / "tune"}:
        with pytest.raises(ModelError, match=rf"{BROKEN} \(tensor '.*' is not finite\)"):
            model.load(folder)


@pytest.mark.parametrize(("key", "value"), [("mean", np.nan), ("std", np.inf), ("std", 0.0), ("within", -1.0)])
def test_statistics_that_are_no_numbers_are_refused(copied, key, value):
    path = copied / "align" / "processor_config.json"
    found = json.loads(path.read_text())
    found["feature_extractor"]["scales"][key][3] = value
    path.write_text(json.dumps(found))
    with pytest.raises(ModelError, match="scales of the statistics"):
        model.load(copied / "align")


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "processor_config.json"])
@pytest.mark.parametrize("kind", [None, "unheard_of", "llama"])
def test_a_program_in_a_folder_is_neither_run_nor_asked_about(copied, monkeypatch, file, kind):
    monkeypatch.setattr("builtins.input", lambda *asked: pytest.fail(f"asked: {asked}"))
    (copied / "align" / "evil.py").write_text("raise SystemExit('the program ran')\n")
    path = copied / "align" / file
    found = json.loads(path.read_text())
    names = ("Config", "Model", "ModelForCausalLM", "ModelForImageTextToText", "Processor", "FeatureExtractor")
    found["auto_map"] = {f"Auto{name}": "evil.C" for name in names} | {"AutoTokenizer": ["evil.C", "evil.C"]}
    if kind:
        found.update(model_type=kind, tokenizer_class="Unheard", processor_class="Unheard")
    path.write_text(json.dumps(found))
    for load in (
        lambda: model.load(copied / "align"),
        lambda: language_models.load(str(copied / "align")),
        lambda: encoder.load(copied / "align"),
    ):
        with contextlib.suppress(LlasaError):  # what needs no program may be read without it
            load()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00001.bin", "model.pt"])
@pytest.mark.parametrize("content", ["weights", "program", "nothing"])
def test_pickled_weights_are_refused_in_a_sentence(copied, tmp_path, name, content):
    folder = copied / "align"
    path = folder / "model.safetensors"
    torch.save(load_file(path), folder / name)
    path.unlink()
    if content != "weights":
        (folder / name).write_bytes(pickle.dumps(Program(tmp_path / "ran"), 2) if content == "program" else b"")
    for load in (model.load, encoder.load, lambda given: language_models.load_model(str(given))):
        with pytest.raises(LlasaError) as caught:
            load(folder)
        assert "\n" not in str(caught.value)
        assert load is not model.load or f"{name} is a pickle" in str(caught.value)
    assert not (tmp_path / "ran").exists()


class Program:
    """Pickled, it makes a file when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (type(self.path).touch, (self.path,))


@pytest.mark.parametrize(
    "config", ["[]", '{"model_type": []}', '{"model_type": "llasa", "text_config": 3}', "[" * 9999]
)
def test_a_configuration_of_another_shape_is_refused_in_a_sentence(copied, config):
    (copied / "align" / "config.json").write_text(config)
    for load in (model.load, encoder.load, lambda given: language_models.load_model(str(given))):
        with pytest.raises(LlasaError) as caught:
            load(copied / "align")
        assert "\n" not in str(caught.value)


def test_an_adapter_names_its_base_without_a_path_of_this_machine(stages, tmp_path):
    named = json.loads((stages / "tune" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert named == "../align"
    for path in (stages / "tune").rglob("*.json"):
        assert str(stages) not in path.read_text()
    shutil.copytree(stages / "align", tmp_path / "elsewhere" / "base")
    shutil.copytree(stages / "tune", tmp_path / "mine")
    rename_base(tmp_path / "mine", "elsewhere/base")
    with pytest.raises(ModelError):
        model.load(tmp_path / "mine")  # seen from the adapter's folder, there is none: a name of the hub
    rename_base(tmp_path / "mine", "../elsewhere/base")
    assert model.load(tmp_path / "mine")[0]


# --- data types ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capability", "dtype"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_a_model_is_loaded_in_what_the_gpu_computes_well(stages, monkeypatch, capability, dtype):
    """A T4 claims bfloat16 and only emulates it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *args, **kwargs: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    assert language_models.pick_dtype() == dtype
    asked = {}

    def remember(cls, base, **options):
        asked.update(options)
        raise OSError("no GPU here")

    monkeypatch.setattr(LlasaForConditionalGeneration, "from_pretrained", classmethod(remember))
    with pytest.raises(ModelError, match="no GPU here"):
        model.load(stages / "align")
    assert asked["dtype"] == dtype


def test_a_model_loaded_in_half_precision_is_half_throughout(stages, imu):
    for dtype in (torch.float16, torch.bfloat16):
        llasa, processor = model.load(stages / "align", dtype=dtype)
        assert {value.dtype for value in llasa.parameters()} == {dtype}
        assert np.isfinite(llasa(**processor(imu=imu, text=QUESTION)).logits.detach().float().numpy()).all()
