"""An encoder from its folder, whole: what Transformers would make up with a warning is refused here."""

import os

from transformers import AutoConfig

from llasa_lib import language_models
from llasa_lib.encoder.network import LimuBertConfig, LimuBertForPreTraining
from llasa_lib.errors import ModelError


def load(folder):
    """Read a pretrained encoder.

    Parameters
    ----------
    folder : path that ``save_pretrained`` of a LimuBertForPreTraining wrote.

    Returns
    -------
    LimuBertForPreTraining, in evaluation mode.

    Raises
    ------
    ModelError
        If there is no such checkpoint, if it is another model's, or if a tensor is missing, left over, misshapen or
        not finite. ``from_pretrained`` fills such gaps with random weights.
    """
    folder = os.fspath(folder)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if isinstance(config, LimuBertConfig):
            model, found = LimuBertForPreTraining.from_pretrained(
                folder, config=config, ignore_mismatched_sizes=True, output_loading_info=True, **language_models.SAFE
            )
    except language_models.UNREADABLE as error:
        why = language_models.reason(error, folder)
        raise ModelError(
            f"{folder} holds no encoder that can be read ({why}). Make it again, or correct it."
        ) from error
    if not isinstance(config, LimuBertConfig):
        raise ModelError(f"{folder} holds a model of the kind {config.model_type!r}; a LIMU-BERT is needed.")
    # Not finite comes first, so that a better reason takes its place: a missing buffer holds whatever memory held.
    odd = {name: "is not finite" for name in language_models.not_finite(model)}
    odd |= {name: "is missing" for name in found["missing_keys"]}
    odd |= {name: "belongs to another network" for name in found["unexpected_keys"]}
    odd |= {name: f"has shape {tuple(saved)}, not {tuple(own)}" for name, saved, own in found["mismatched_keys"]}
    if odd:
        name = min(odd)
        raise ModelError(
            f"{folder}: tensor {name!r} {odd[name]}. This is not what a training left there: make it again."
        )
    return model.eval()
