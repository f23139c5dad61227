"""Writing a model to a folder, and reading it whole or not at all."""

import os
from pathlib import Path

from safetensors import SafetensorError, safe_open

from llasa_lib import files, language_models
from llasa_lib.errors import ArtifactError, ModelError, first_line
from llasa_lib.model import bases, familiarity
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
    with files.atomic(folder, folder=True) as temporary:
        try:
            model.save_pretrained(temporary)
            processor.save_pretrained(temporary)
            # peft's model card, empty but for a path of this machine.
            (Path(temporary) / "README.md").unlink(missing_ok=True)
            bases.note(model, temporary)
        except (OSError, SafetensorError) as error:
            raise ArtifactError(
                f"The model could not be written to {os.fspath(folder)} ({first_line(error)}). "
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
        With ``adapter_config.json`` inside, the base model is the neighbour ``align``, or else the one named there.

    Returns
    -------
    (LlasaForConditionalGeneration, LlasaProcessor)
        In eval mode.

    Raises
    ------
    ModelError
        If a file is missing, cut short or of another model, if a number in it is not finite, or if it brings a program.
    """
    adapter = Path(folder) / "adapter_config.json"
    dtype = dtype or language_models.pick_dtype()
    try:
        base = bases.find(folder) if adapter.exists() else folder
        if Path(base).is_dir() and not (Path(base) / "config.json").exists():
            # Transformers would go on with its default configuration: seven billion random weights.
            raise OSError("config.json is missing")
        processor = LlasaProcessor.from_pretrained(folder, trust_remote_code=False)
        # NOTE: the configuration on its own first: without the file, from_pretrained builds a random 7B model instead.
        config = LlasaConfig.from_pretrained(base, trust_remote_code=False)
        _check_pair(processor, config)
        model, found = LlasaForConditionalGeneration.from_pretrained(
            base, config=config, dtype=dtype, output_loading_info=True, **language_models.SAFE
        )
        if found["missing_keys"]:
            raise ValueError(f"no weights for {sorted(found['missing_keys'])[0]}")
        if adapter.exists():
            model = _with_adapter(model, folder)
        else:
            _check_finite(model)
    except ModelError:
        raise
    except language_models.UNREADABLE as error:
        raise ModelError(
            f"{os.fspath(folder)} does not hold a complete LLaSA model ({language_models.reason(error, folder)}). "
            "Make it again with: llasa tune"
        ) from error
    return language_models.keep_packing(model).eval().to(language_models.pick_device()), processor


def _check_pair(processor, config):
    """A processor of another model would put other tokens where this one looks for its windows."""
    if processor.imu_token_id != config.imu_token_id:
        raise ValueError(
            f"the tokenizer's <imu> is token {processor.imu_token_id}, the model looks for {config.imu_token_id}"
        )
    if processor.tokens_per_window != config.tokens_per_window:
        raise ValueError(
            f"the processor makes {processor.tokens_per_window} tokens of a window, "
            f"the model {config.tokens_per_window}"
        )
    read = processor.feature_extractor
    if not read.has_scales() or not familiarity.is_whole(read.familiar):
        raise ValueError("the processor's scales of the statistics are missing or no such numbers")


def _check_finite(model):
    odd = language_models.not_finite(model)
    if odd:
        raise ValueError(f"tensor {odd[0]!r} is not finite")


def _with_adapter(model, folder):
    from peft import PeftModel, get_peft_model_state_dict

    with safe_open(Path(folder) / "adapter_model.safetensors", "pt") as weights:
        given = set(weights.keys())
    try:
        tuned = PeftModel.from_pretrained(model, folder)
    except RuntimeError as error:
        if "size mismatch" not in str(error):
            raise
        raise ModelError(
            f"The adapter in {os.fspath(folder)} belongs to a model of other sizes than {model.name_or_path}. "
            "Train it again with: llasa tune"
        ) from error
    # Not by itself: to find out whether words were added, peft would ask the hub for the base's folder.
    missing = sorted(get_peft_model_state_dict(tuned, save_embedding_layers=False).keys() - given)
    if missing:
        raise ValueError(f"no weights for {missing[0]}")
    _check_finite(tuned)
    if getattr(model, "is_quantized", False):
        return tuned.get_base_model()  # four bits have no room for what the adapter adds: it stays beside them
    return tuned.merge_and_unload()
