"""Conversations about windows as training data."""

import torch
from torch import nn

from llasa_lib import encoder, training
from llasa_lib.model.processing import IGNORE

_PADDED = {"input_ids", "labels"}


def read_once(model, processor, imu):
    """What the model reads of each window, with the encoder's states in place of the window where it is frozen.

    Parameters
    ----------
    model : LlasaForConditionalGeneration
    processor : LlasaProcessor
    imu : (N, T, 6) array, SI units, or Calibrated

    Returns
    -------
    dict of tensors with N rows
        ``imu_summary``, and ``imu_states`` (float32, on the CPU) or ``imu_values``.
    """
    windows, imu_encoder = processor.feature_extractor.windows(imu), model.model.encoder
    sensor = dict(processor.feature_extractor(windows))
    if model.config.steps_per_token and not any(p.requires_grad for p in imu_encoder.parameters()):
        del sensor["imu_values"]
        sensor["imu_states"] = torch.from_numpy(
            encoder.embed(imu_encoder, processor.feature_extractor.equalised(windows))
        )
    return sensor


class Conversations(torch.utils.data.Dataset):
    """Conversations about windows, ready for :func:`training.fit`.

    Parameters
    ----------
    processor : LlasaProcessor
    imu : (N, T, 6) array, SI units; or what :func:`read_once` makes of it
    samples : list of (int, list of (question, answer))
        Row of the window, and what is said about it.
    batch_size, seed : int
        For the order: batches of similar length, see :func:`training.order_by_length`.
    activity_labels : (N,) long tensor, optional
        The activity of each window, for :func:`contrastive_loss`.
    """

    def __init__(self, processor, imu, samples, batch_size, seed, activity_labels=None):
        self.windows = imu if isinstance(imu, dict) else dict(processor.feature_extractor(imu))
        if activity_labels is not None:
            self.windows = {**self.windows, "activity_labels": activity_labels}
        ready = [(row, processor.conversation(turns)) for row, turns in samples]
        order = training.order_by_length([len(tokens["input_ids"]) for _, tokens in ready], batch_size, seed)
        self.samples = [ready[n] for n in order]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, n):
        row, tokens = self.samples[n]
        return {**tokens, **{name: values[row] for name, values in self.windows.items()}}


def collate(batch, pad_token_id):
    """Pad conversations on the right and stack their windows.

    Without an attention mask: a token never looks to its right, where the padding stands, and attention without a mask
    leaves out the half of its products that nobody sees.
    """

    def padded(name, fill):
        rows = [torch.tensor(sample[name]) for sample in batch]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=fill)

    return {
        "input_ids": padded("input_ids", pad_token_id),
        "labels": padded("labels", IGNORE),
        **{name: torch.stack([sample[name] for sample in batch]) for name in batch[0].keys() - _PADDED},
    }
