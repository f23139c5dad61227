"""Training without labels, and what the trained encoder says about a window."""

import numpy as np
import torch
from torch import nn

from llasa_lib import signals, training
from llasa_lib.encoder.masking import choose_hidden, mask_spans
from llasa_lib.encoder.network import LimuBertConfig, LimuBertForPreTraining
from llasa_lib.encoder.windows import normalise


class MaskedPretraining(nn.Module):
    """A LIMU-BERT that hides steps of each batch as it is trained on it; its output holds the loss.

    The loader is a batch ahead of every checkpoint: masked there, a resumed run would draw other masks than the
    uninterrupted one.

    Parameters
    ----------
    model : LimuBertForPreTraining
    settings : a profile's ``encoder`` section. Spans are counted in tokens.
    """

    def __init__(self, model, settings):
        super().__init__()
        self.model, self.settings = model, settings

    def forward(self, imu_values):
        """Windows (B, T, 6), normalised -> LimuBertForPreTrainingOutput."""
        return self.model(**self.hide(imu_values), loss_only=True)

    def hide(self, imu_values):
        """What the network is trained on: a dict of ``imu_values``, ``mask``, ``labels`` and ``hidden``.

        Masks and turns come from torch's global generator on the CPU, so that every device draws the same.
        """
        settings, device, patch = self.settings, imu_values.device, self.model.config.patch_size
        labels = imu_values
        if settings.max_turn:
            rng = np.random.default_rng(torch.randint(2**31, ()).item())
            turned = signals.turn_randomly(labels.cpu().numpy(), rng, settings.max_turn)
            labels = torch.from_numpy(turned.astype(np.float32)).to(device)
        size = len(labels), labels.shape[1] // patch
        mask = mask_spans(*size, settings.mask_ratio, settings.max_span, settings.span_decay)
        mask = mask.repeat_interleave(patch, dim=1)  # (B, T): all steps of a token are hidden, or none
        hidden = choose_hidden(mask, settings.mask_zero_probability).to(device)
        seen = labels.masked_fill(hidden[..., None], 0.0)
        return {"imu_values": seen, "mask": mask.to(device), "labels": labels, "hidden": hidden}


def pretrain(windows, settings, folder, seed=0, config=None, keep=False):
    """Train a LIMU-BERT to fill in hidden spans. No label is read.

    Parameters
    ----------
    windows : ``datasets.Dataset`` of windows, or (N, 120, 6) array, in SI units; training subjects only.
    settings : a profile's ``encoder`` section.
    folder : path; checkpoints live there while training lasts, and an interrupted run resumes.
    seed : int, for weights, order and masks.
    config : LimuBertConfig; the published sizes by default.
    keep : bool, see :func:`training.fit`.

    Returns
    -------
    model : LimuBertForPreTraining, in evaluation mode.
    history : list of dicts with step, epoch and loss (mean squared error on hidden steps, normalised units).
    """
    config = config or LimuBertConfig()
    imu = windows if isinstance(windows, np.ndarray | torch.Tensor) else signals.to_array(windows)
    values = torch.from_numpy(normalise(signals.check_windows(imu, config.max_position_embeddings)))
    torch.manual_seed(seed)
    model = LimuBertForPreTraining(config)
    model.limu_bert.input.fit(values)
    masked = MaskedPretraining(model, settings)
    if settings.compile:
        model.compile(backend=settings.compile)  # in place: names of weights and checkpoints stay
    history = training.fit(
        masked,
        [{"imu_values": window} for window in values],
        folder,
        settings,
        seed,
        description="LIMU-BERT",
        keep=keep,
    )
    return model.eval(), history


@torch.inference_mode()
def embed(model, imu, batch_size=256, reduce=None):
    """Encode windows in SI units.

    Parameters
    ----------
    model : LimuBertModel or LimuBertForPreTraining, on any device and of any float type.
    imu : (N, 120, 6) array or tensor, m/s^2 and rad/s.
    batch_size : int, windows at a time.
    reduce : function applied to each batch of embeddings, for example :func:`pool`, to save memory.

    Returns
    -------
    (N, 120, 72) float32 array, or (N, tokens, hidden_size) of a variant, or what ``reduce`` makes of it.

    Raises
    ------
    ModelError
        If the windows have another shape, NaN, or units that are obviously wrong.
    """
    encoder = getattr(model, "limu_bert", model)
    values = torch.from_numpy(normalise(signals.check_windows(imu, encoder.config.max_position_embeddings)))
    was_training = encoder.training
    encoder.eval()
    parts = [
        encoder(batch.to(encoder.device)).last_hidden_state.float().cpu().numpy() for batch in values.split(batch_size)
    ]
    encoder.train(was_training)
    return np.concatenate([reduce(part) if reduce else part for part in parts])
