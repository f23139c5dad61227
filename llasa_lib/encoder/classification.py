"""From embeddings to activities: heads on the encoder, fine-tuning, and a network without any encoder beside them."""

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput

from llasa_lib import training
from llasa_lib.encoder.network import CLASSIFIERS, LimuBertConfig, LimuBertModel, LimuBertPreTrainedModel
from llasa_lib.encoder.probing import pool
from llasa_lib.encoder.windows import normalise
from llasa_lib.errors import ModelError
from llasa_lib.signals import check_windows

SECONDS = 6  # of a window


class LinearHead(nn.Module):
    """Mean and spread over time, brought to one size, and a linear layer: the linear probe as a network."""

    def __init__(self, width, labels):
        super().__init__()
        self.scale = nn.BatchNorm1d(2 * width, affine=False)
        self.out = nn.Linear(2 * width, labels)

    def forward(self, states):
        pooled = pool(states)
        # One window alone has no spread: it is brought to the size of those before it.
        return self.out(self.scale.train(self.training and len(pooled) > 1)(pooled))

    def settle(self, states):
        """Take the size from all of these states."""
        pooled = pool(states)
        if len(pooled) > 1:
            self.scale.running_mean.copy_(pooled.mean(0))
            self.scale.running_var.copy_(pooled.var(0))


class GruHead(nn.Module):
    """Two recurrent layers of 20 and 10 numbers on each second, and a linear layer on the last state, as published.

    NOTE: deviates from the published code, which names and scores every second. Here a window is one, as everywhere in
    this library: the mean of its seconds counts.
    """

    def __init__(self, width, labels):
        super().__init__()
        self.first = nn.GRU(width, 20, batch_first=True)
        self.second = nn.GRU(20, 10, batch_first=True)
        self.out = nn.Linear(10, labels)

    def forward(self, states):
        if states.shape[1] % SECONDS:
            raise ModelError(
                f"The recurrent head reads {SECONDS} pieces of a window, but {states.shape[1]} tokens cannot be cut "
                "into them; choose another patch_size, or the linear head."
            )
        pieces = states.unflatten(1, (SECONDS, -1)).flatten(0, 1)  # (B * 6, N / 6, H)
        last = self.second(self.first(pieces)[0])[0][:, -1]  # (B * 6, 10)
        return self.out(last).unflatten(0, (-1, SECONDS)).mean(1)


HEADS = dict(zip(CLASSIFIERS, (LinearHead, GruHead), strict=True))


class LimuBertForSequenceClassification(LimuBertPreTrainedModel):
    """The encoder with a head that names the activity; ``config.classifier`` chooses it, ``num_labels`` its size."""

    # A pretraining checkpoint's own head is left behind without a warning.
    _keys_to_ignore_on_load_unexpected = (r"^head\.", r"^fc\.")

    def __init__(self, config):
        super().__init__(config)
        self.limu_bert = LimuBertModel(config)
        self.classifier = HEADS[config.classifier](config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, imu_values, labels=None, **kwargs):
        """Name windows.

        Parameters
        ----------
        imu_values : (B, T, 6) tensor, normalised.
        labels : (B,) tensor of class numbers, optional.

        Returns
        -------
        SequenceClassifierOutput with ``logits`` (B, num_labels) and, with labels, ``loss``.
        """
        return _classified(self.classifier(self.limu_bert(imu_values).last_hidden_state), labels)


class RawGru(nn.Module):
    """The recurrent head alone.

    On the six channels it is what a small network learns from the labels alone; on the states of a frozen encoder,
    ``width`` numbers each, it is the published classifier without running the encoder at every step.
    """

    accepts_loss_kwargs = False

    def __init__(self, num_labels, length=120, width=6):
        super().__init__()
        self.length = length
        self.classifier = GruHead(width, num_labels)

    def forward(self, imu_values, labels=None, **kwargs):
        return _classified(self.classifier(imu_values), labels)


AutoModelForSequenceClassification.register(LimuBertConfig, LimuBertForSequenceClassification, exist_ok=True)


def _classified(logits, labels):
    loss = None if labels is None else nn.functional.cross_entropy(logits.float(), labels)
    return SequenceClassifierOutput(loss=loss, logits=logits)


def with_head(model, activities, head="linear"):
    """A classifier that starts from a pretrained encoder, which stays as it is.

    Parameters
    ----------
    model : LimuBertModel or LimuBertForPreTraining
    activities : list of str, names of the classes, in the order of the logits.
    head : str, "linear" or "gru".

    Returns
    -------
    LimuBertForSequenceClassification

    Raises
    ------
    ModelError
        If there is no such head.
    """
    limu_bert = getattr(model, "limu_bert", model)
    changes = {
        "classifier": head,
        "id2label": dict(enumerate(activities)),
        "label2id": {name: number for number, name in enumerate(activities)},
        "attn_implementation": limu_bert.config._attn_implementation,  # what to_dict leaves out
    }
    config = LimuBertConfig.from_dict(limu_bert.config.to_dict() | changes)
    made = LimuBertForSequenceClassification(config)
    made.limu_bert.load_state_dict(limu_bert.state_dict())
    return made


def fine_tune(model, imu, labels, settings, folder, seed=0, encoder_learning_rate=None, description="classifier"):
    """Train a classifier, and the encoder below it, on labelled windows.

    Parameters
    ----------
    model : LimuBertForSequenceClassification or RawGru; changed in place.
    imu : (N, 120, 6) array, SI units.
    labels : (N,) array of class numbers.
    settings : a profile's section of training settings.
    folder : path; checkpoints live there while training lasts, and an interrupted run resumes.
    seed : int
    encoder_learning_rate : float, optional
        Of the encoder, where it differs from the head's; 0 freezes it.
    description : str, of the progress bar; empty for none.

    Returns
    -------
    list of dict, the loss curve.

    Raises
    ------
    ModelError
        If the windows have another shape, NaN, or units that are obviously wrong, or the labels are not theirs.
    """
    values, numbers = _values(model, imu), _class_numbers(labels, len(imu), model.classifier.out.out_features)
    return train(model, values, numbers, settings, folder, seed, encoder_learning_rate, description)


def train(model, values, labels, settings, folder, seed, encoder_learning_rate, description):
    """:func:`fine_tune` on tensors as the model reads them, (N, T, F) and (N,), which nobody checks."""
    rates = {}
    if encoder_learning_rate is not None:
        model.limu_bert.requires_grad_(encoder_learning_rate > 0)
        rates["limu_bert"] = encoder_learning_rate
    data = [{"imu_values": window, "labels": label} for window, label in zip(values, labels, strict=True)]
    history = training.fit(model, data, folder, settings, seed, groups=rates, description=description)
    _settle(model.eval(), values)
    return history


@torch.inference_mode()
def _settle(model, values, batch_size=256):
    """Scales over all training windows, as a linear probe has them, not a running mean over the last batches."""
    if isinstance(model.classifier, LinearHead):
        parts = [model.limu_bert(part.to(model.device)).last_hidden_state for part in values.split(batch_size)]
        model.classifier.settle(torch.cat(parts))


def classify(model, imu, batch_size=256):
    """Class number of each window (N, 120, 6) in SI units: (N,) array. Raises as :func:`fine_tune`."""
    return predict(model, _values(model, imu), batch_size)


@torch.inference_mode()
def predict(model, values, batch_size=256):
    """:func:`classify` of a tensor as the model reads it, (N, T, F)."""
    model.eval()
    device = next(model.parameters()).device
    return np.concatenate([model(part.to(device)).logits.argmax(-1).cpu().numpy() for part in values.split(batch_size)])


def _class_numbers(labels, windows, classes):
    """Checked labels, as the loss wants them."""
    labels = np.asarray(labels)
    if labels.shape != (windows,):
        raise ModelError(f"There are labels of shape {labels.shape} for {windows} windows; give one for each.")
    if labels.dtype.kind not in "iu" or ((labels < 0) | (labels >= classes)).any():
        raise ModelError(f"Labels must be whole numbers from 0 to {classes - 1}, the places of the classifier's names.")
    return torch.as_tensor(labels.astype(np.int64))


def _values(model, imu):
    """Checked and normalised windows, of the length that the model reads."""
    length = model.length if isinstance(model, RawGru) else model.config.max_position_embeddings
    return torch.from_numpy(normalise(check_windows(imu, length)))
