"""The authors' checkpoints: names of their tensors, and reading and writing them without trust."""

from pathlib import Path

import torch

from llasa_lib import files
from llasa_lib.errors import ModelError

_LAYERS = {
    "transformer.embed.lin": "limu_bert.embeddings.projection",
    "transformer.embed.pos_embed": "limu_bert.embeddings.position_embeddings",
    "transformer.embed.norm": "limu_bert.embeddings.norm",
    "transformer.attn.proj_q": "limu_bert.blocks.0.attention.query",
    "transformer.attn.proj_k": "limu_bert.blocks.0.attention.key",
    "transformer.attn.proj_v": "limu_bert.blocks.0.attention.value",
    "transformer.proj": "limu_bert.blocks.0.output",
    "transformer.norm1": "limu_bert.blocks.0.norm1",
    "transformer.pwff.fc1": "limu_bert.blocks.0.fc1",
    "transformer.pwff.fc2": "limu_bert.blocks.0.fc2",
    "transformer.norm2": "limu_bert.blocks.0.norm2",
    "fc": "fc",
    "linear": "head.dense",
    "norm": "head.norm",
    "decoder": "head.decoder",
}
_NORM, _TABLE, _LINEAR = {"gamma": "weight", "beta": "bias"}, {"weight": "weight"}, {"weight": "weight", "bias": "bias"}
NAMES = {
    f"{theirs}.{part}": f"{ours}.{name}"
    for theirs, ours in _LAYERS.items()
    for part, name in (_NORM if "norm" in theirs else _TABLE if "pos_embed" in theirs else _LINEAR).items()
}
"""Tensor names of the published checkpoints, in their order, and the same tensors' names here."""


def read(path, like):
    """Tensors of a checkpoint under our names, in float32.

    Parameters
    ----------
    path : path of a ``.pt`` file.
    like : state dict of a LimuBertForPreTraining: the names and shapes that are needed.

    Raises
    ------
    ModelError
        Names the first tensor that is missing, unknown, misshapen or not finite.
    """
    published = _load(path)
    for name, target in NAMES.items():
        _check_tensor(path, name, published.get(name), like[target].shape)
    unknown = sorted(set(published) - set(NAMES), key=str)
    if unknown:
        raise ModelError(f"{path}: unknown tensor {unknown[0]!r}; a LIMU-BERT checkpoint has no such key.")
    return {ours: published[theirs].float() for theirs, ours in NAMES.items()}


def write(path, state):
    """Write a state dict of a LimuBertForPreTraining as a checkpoint of the authors' code."""
    tensors = {theirs: state[ours].detach().cpu().contiguous() for theirs, ours in NAMES.items()}
    with files.atomic(path) as temporary:
        torch.save(tensors, temporary)


def _load(path):
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file; give the path of a LIMU-BERT checkpoint (.pt).")
    try:
        published = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a broken or unsafe pickle
        raise ModelError(
            f"{path}: not a checkpoint of plain tensors ({type(error).__name__}); download it again."
        ) from error
    if not isinstance(published, dict):
        raise ModelError(f"{path}: holds a {type(published).__name__}; a state dict of 29 tensors is needed.")
    return published


def _check_tensor(path, name, tensor, shape):
    if tensor is None:
        raise ModelError(f"{path}: tensor {name!r} is missing; is this a LIMU-BERT checkpoint?")
    if not isinstance(tensor, torch.Tensor):
        raise ModelError(f"{path}: {name!r} is a {type(tensor).__name__}, not a tensor.")
    if tensor.shape != shape:
        raise ModelError(
            f"{path}: tensor {name!r} has shape {tuple(tensor.shape)}, but {tuple(shape)} is needed; "
            "give a config with the checkpoint's sizes."
        )
    if not torch.isfinite(tensor).all():
        raise ModelError(f"{path}: tensor {name!r} holds NaN or infinite values; the checkpoint is damaged.")
