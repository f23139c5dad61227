"""Writing a model to a folder, and reading it whole or not at all."""

import os
from pathlib import Path

from safetensors import SafetensorError, safe_open

from llasa_lib import files, language_models
from llasa_lib.errors import ArtifactError, ModelError
from llasa_lib.model.configuration import LlasaConfig
from llasa_lib.model.modeling import LlasaForConditionalGeneration
from llasa_lib.model.processing import LlasaProcessor


def save(model, processor, folder):
    """Write a model (safetensors; of a LoRA model the adapter) and its processor to a folder, whole or not at all.

    Raises
    ------
    ArtifactError
        If a tensor that was written is empty, as a shard of a model is whose weights lie with another process; or if
        the disk is full.
    """
    with files.atomic(folder) as temporary:
        try:
            model.save_pretrained(temporary)
            processor.save_pretrained(temporary)
        except (OSError, SafetensorError) as error:
            raise ArtifactError(
                f"The model could not be written to {os.fspath(folder)} ({str(error).splitlines()[0]}). "
                "Free some space and run the stage again."
            ) from error
        _check_whole(Path(temporary), folder)


def _check_whole(written, folder):
    shapes = {}
    for path in sorted(written.glob("*.safetensors")):
        with safe_open(path, "pt") as tensors:
            shapes |= {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}
    empty = [name for name, shape in shapes.items() if 0 in shape]
    if empty or not shapes:
        raise ArtifactError(
            f"{os.fspath(folder)} was not written: {empty[0] if empty else 'every tensor'} would be empty. "
            "Are its weights with another process? Let training.fit end before saving."
        )


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
