"""Writing a model to a folder, and reading it whole or not at all."""

import os
from pathlib import Path

from safetensors import SafetensorError

from llasa_lib import files, language_models
from llasa_lib.errors import ModelError
from llasa_lib.model.configuration import LlasaConfig
from llasa_lib.model.modeling import LlasaForConditionalGeneration
from llasa_lib.model.processing import LlasaProcessor


def save(model, processor, folder):
    """Write a model (safetensors; of a LoRA model the adapter) and its processor to a folder, whole or not at all."""
    with files.atomic(folder) as temporary:
        model.save_pretrained(temporary)
        processor.save_pretrained(temporary)


def load(folder, dtype=None):
    """Read what :func:`save` wrote, or a LoRA adapter on top of it.

    Parameters
    ----------
    folder : path or hub id
        With ``adapter_config.json`` inside, the base model is the one named there, or else the neighbour ``align``.

    Returns
    -------
    (LlasaForConditionalGeneration, LlasaProcessor)
        In eval mode.
    """
    base = folder
    adapter = Path(folder) / "adapter_config.json"
    if adapter.exists():
        base = Path(folder).resolve().parent / "align"
    dtype = dtype or language_models.pick_dtype()
    try:
        if Path(base).is_dir() and not (Path(base) / "config.json").exists():
            # Transformers would go on with its default configuration: seven billion random weights.
            raise OSError("config.json is missing")
        processor = LlasaProcessor.from_pretrained(folder)
        # NOTE: the configuration on its own first: without the file, from_pretrained builds a random 7B model instead.
        config = LlasaConfig.from_pretrained(base)
        model, found = LlasaForConditionalGeneration.from_pretrained(
            base, config=config, dtype=dtype, output_loading_info=True
        )
        if found["missing_keys"]:
            raise ValueError(f"no weights for {sorted(found['missing_keys'])[0]}")
        if adapter.exists():
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, folder).merge_and_unload()
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{os.fspath(folder)} does not hold a complete LLaSA model ({str(error).splitlines()[0]}). "
            "Make it again with: llasa tune"
        ) from error
    return model.eval().to(language_models.pick_device()), processor
