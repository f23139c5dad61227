"""LIMU-BERT: an encoder for six seconds of motion, trained without labels (Xu et al. 2021).

Notable features:

- the published network to the last detail: one block whose weights serve all four layers, no residual around
  the attention, the embedding's LayerNorm used twice;
- a real Transformers model: ``from_pretrained``, ``save_pretrained``, ``AutoModel``, fused attention;
- ``from_published`` and ``to_published`` read and write the authors' own checkpoints, bit for bit;
- span masking for a whole batch at once: the loop runs over spans, not over windows;
- norms are computed in float32 whatever the model's type, since eps = 1e-12 is 0 in half precision;
- windows are checked where they enter (``check_windows``), not in ``forward``.

Windows enter in SI units (m/s^2 with gravity, rad/s). ``normalise`` gives what the network reads.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForPreTraining, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import ModelOutput

from . import files, signals, training
from .errors import ModelError

GRAVITY = 9.8
"""Divisor of acceleration before the encoder. NOTE: the published value, not standard gravity (9.80665)."""

PUBLISHED_NAMES = {
    "transformer.embed.lin.weight": "limu_bert.embeddings.projection.weight",
    "transformer.embed.lin.bias": "limu_bert.embeddings.projection.bias",
    "transformer.embed.pos_embed.weight": "limu_bert.embeddings.position_embeddings.weight",
    "transformer.embed.norm.gamma": "limu_bert.embeddings.norm.weight",
    "transformer.embed.norm.beta": "limu_bert.embeddings.norm.bias",
    "transformer.attn.proj_q.weight": "limu_bert.block.attention.query.weight",
    "transformer.attn.proj_q.bias": "limu_bert.block.attention.query.bias",
    "transformer.attn.proj_k.weight": "limu_bert.block.attention.key.weight",
    "transformer.attn.proj_k.bias": "limu_bert.block.attention.key.bias",
    "transformer.attn.proj_v.weight": "limu_bert.block.attention.value.weight",
    "transformer.attn.proj_v.bias": "limu_bert.block.attention.value.bias",
    "transformer.proj.weight": "limu_bert.block.output.weight",
    "transformer.proj.bias": "limu_bert.block.output.bias",
    "transformer.norm1.gamma": "limu_bert.block.norm1.weight",
    "transformer.norm1.beta": "limu_bert.block.norm1.bias",
    "transformer.pwff.fc1.weight": "limu_bert.block.fc1.weight",
    "transformer.pwff.fc1.bias": "limu_bert.block.fc1.bias",
    "transformer.pwff.fc2.weight": "limu_bert.block.fc2.weight",
    "transformer.pwff.fc2.bias": "limu_bert.block.fc2.bias",
    "transformer.norm2.gamma": "limu_bert.block.norm2.weight",
    "transformer.norm2.beta": "limu_bert.block.norm2.bias",
    "fc.weight": "fc.weight",
    "fc.bias": "fc.bias",
    "linear.weight": "head.dense.weight",
    "linear.bias": "head.dense.bias",
    "norm.gamma": "head.norm.weight",
    "norm.beta": "head.norm.bias",
    "decoder.weight": "head.decoder.weight",
    "decoder.bias": "head.decoder.bias",
}
"""Tensor names of the published checkpoints, and the same tensors' names here."""


# --- the network ----------------------------------------------------------------------------------


@strict
class LimuBertConfig(PreTrainedConfig):
    """Sizes of a LIMU-BERT; the defaults are the published ones.

    Parameters
    ----------
    hidden_size : int, numbers per time step.
    intermediate_size : int, width of the feed-forward layer.
    num_hidden_layers : int, how often the one block is applied. All layers share its weights.
    num_attention_heads : int; must divide ``hidden_size``.
    num_channels : int, acceleration x, y, z and rotation x, y, z.
    max_position_embeddings : int, longest window in time steps (120 = 6 s at 20 Hz).
    layer_norm_eps : float, added to the variance, inside the root.
    initializer_range : float or None, standard deviation of new weights; None leaves torch's own defaults.
    attention_gain : float, how sharply a *new* network looks at the neighbourhood of each step; 0 starts as the
        published code does. See :func:`look_around`.
    """

    model_type = "limu_bert"

    hidden_size: int = 72
    intermediate_size: int = 144
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_channels: int = 6
    max_position_embeddings: int = 120
    layer_norm_eps: float = 1e-12
    initializer_range: float | None = None
    attention_gain: float | int = 2.0


class LimuBertLayerNorm(nn.LayerNorm):
    """LayerNorm in float32, whatever comes in.

    In half precision eps = 1e-12 is 0, so a norm written out by hand turns constant input into NaN. PyTorch's
    own kernels calculate in float32 already on most devices; this does not rely on it.
    """

    def forward(self, hidden):
        normed = F.layer_norm(hidden.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps)
        return normed.to(hidden.dtype)


class LimuBertEmbeddings(nn.Module):
    """Six channels to ``hidden_size`` numbers, plus a learned position; the same norm before and after."""

    def __init__(self, config):
        super().__init__()
        self.projection = nn.Linear(config.num_channels, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.norm = LimuBertLayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, imu_values):
        positions = self.position_embeddings.weight[: imu_values.shape[1]]  # (T, H)
        return self.norm(self.norm(self.projection(imu_values)) + positions)  # (B, T, H)


class LimuBertAttention(nn.Module):
    """Multi-head self-attention over time, without mask: every step sees every other."""

    def __init__(self, config):
        super().__init__()
        if config.hidden_size % config.num_attention_heads:
            raise ModelError(
                f"hidden_size {config.hidden_size} is no multiple of the {config.num_attention_heads} heads; "
                "change one of the two."
            )
        self.config = config
        self.num_heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden, output_attentions=False):
        def split(x):  # (B, T, H) -> (B, heads, T, H / heads)
            return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

        query, key, value = split(self.query(hidden)), split(self.key(hidden)), split(self.value(hidden))
        weights = None
        if output_attentions or self.config._attn_implementation == "eager":
            scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5  # (B, heads, T, T)
            weights = scores.float().softmax(-1).to(scores.dtype)
            mixed = weights @ value
        else:  # the fused kernel never writes the T x T weights to memory
            mixed = F.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).flatten(2), weights


class LimuBertBlock(nn.Module):
    """Attention, projection, feed-forward.

    NOTE: unlike BERT's, the block adds no residual around the attention: ``h = attention(h)`` replaces its
    input, and the first residual spans only the projection after it. The published weights were trained so.
    """

    def __init__(self, config):
        super().__init__()
        self.attention = LimuBertAttention(config)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm1 = LimuBertLayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.norm2 = LimuBertLayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden, output_attentions=False):
        hidden, weights = self.attention(hidden, output_attentions)
        hidden = self.norm1(hidden + self.output(hidden))
        hidden = self.norm2(hidden + self.fc2(F.gelu(self.fc1(hidden))))
        return hidden, weights


class LimuBertPreTrainedModel(PreTrainedModel):
    config_class = LimuBertConfig
    base_model_prefix = "limu_bert"
    main_input_name = "imu_values"
    _supports_sdpa = True
    _no_split_modules = ("LimuBertBlock",)

    def _init_weights(self, module):
        if self.config.initializer_range is not None:
            super()._init_weights(module)
        elif hasattr(module, "reset_parameters"):
            module.reset_parameters()


@torch.no_grad()
def look_around(model, gain):
    """Start attention as a look at the neighbours in time, not as a mean over the whole window.

    With small random weights attention is nearly even, and this block has no residual that would carry a step past it:
    one layer makes all 120 steps the same vector, and training takes thousands of updates to part them again (rank
    collapse, Dong et al. 2021). NOTE: deviates from the published code, in the start values only. Positions begin as
    sinusoids, so that near steps look alike; query and key as ``gain`` times the identity, so that like finds like;
    the value near the identity, so that what is found is passed on.

    Parameters
    ----------
    model : LimuBertModel, freshly initialised; changed in place.
    gain : float; the attention's preference for its own neighbourhood grows with its square.
    """
    positions, attention = model.embeddings.position_embeddings.weight, model.block.attention
    steps, width = positions.shape
    half = (width + 1) // 2
    # From one turn in 4 steps to one in 400; shuffled, so that every head gets slow and fast ones.
    angles = torch.arange(steps)[:, None] * torch.pi / 2 * 100 ** (-torch.arange(half) / half)
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)[:, torch.randperm(2 * half)[:width]]
    # transformers' own copy_ and zeros_ leave a tensor alone that was loaded from a checkpoint.
    init.copy_(positions, 2**0.5 * waves)
    for layer in (attention.query, attention.key):
        init.copy_(layer.weight, 0.2 * layer.weight + gain * torch.eye(width))
        init.zeros_(layer.bias)
    init.copy_(attention.value.weight, attention.value.weight + torch.eye(width))
    init.zeros_(attention.value.bias)


class LimuBertModel(LimuBertPreTrainedModel):
    """The encoder: a window in, 72 numbers per time step out.

    Example::

        encoder = LimuBertModel.from_pretrained(folder)
        hidden = encoder(normalise(torch.as_tensor(imu))).last_hidden_state  # (B, 120, 72)
    """

    # An encoder may be taken out of a pretrained checkpoint; its head is then left behind without a warning.
    _keys_to_ignore_on_load_unexpected = (r"^head\.", r"^fc\.")

    def __init__(self, config):
        super().__init__(config)
        self.embeddings = LimuBertEmbeddings(config)
        self.block = LimuBertBlock(config)
        self.post_init()
        # NOTE: not in _init_weights, which transformers asks about layers with weights of their own only.
        if config.attention_gain:
            look_around(self, config.attention_gain)

    def get_input_embeddings(self):
        return self.embeddings.projection

    def forward(self, imu_values, output_attentions=False, **kwargs):
        """Encode windows.

        Parameters
        ----------
        imu_values : (B, T, 6) tensor, *normalised*: acceleration / 9.8, rotation in rad/s. T at most 120.
        output_attentions : bool, also give the attention weights, one (B, heads, T, T) tensor per layer.

        Returns
        -------
        BaseModelOutput with ``last_hidden_state`` (B, T, 72) and, if asked for, ``attentions``.
        """
        hidden, maps = self.embeddings(imu_values), []
        for _ in range(self.config.num_hidden_layers):  # the same block each time
            hidden, weights = self.block(hidden, output_attentions)
            maps.append(weights)
        return BaseModelOutput(last_hidden_state=hidden, attentions=tuple(maps) if output_attentions else None)


@dataclasses.dataclass
class LimuBertForPreTrainingOutput(ModelOutput):
    """``loss`` (if labels were given), ``reconstruction`` (B, T, 6) and ``last_hidden_state`` (B, T, 72)."""

    loss: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None


class LimuBertReconstructionHead(nn.Module):
    """72 numbers per time step back to six channels."""

    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = LimuBertLayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, config.num_channels)

    def forward(self, hidden):
        return self.decoder(self.norm(F.gelu(self.dense(hidden))))


class LimuBertForPreTraining(LimuBertPreTrainedModel):
    """The encoder with its reconstruction head: fill in the steps that were hidden."""

    def __init__(self, config):
        super().__init__(config)
        self.limu_bert = LimuBertModel(config)
        self.head = LimuBertReconstructionHead(config)
        # NOTE: never used. The published checkpoints hold it, so a round trip has to keep it.
        self.fc = nn.Linear(config.hidden_size, config.hidden_size)
        self.fc.requires_grad_(False)
        self.post_init()

    def forward(self, imu_values, mask=None, labels=None, **kwargs):
        """Reconstruct windows.

        Parameters
        ----------
        imu_values : (B, T, 6) tensor, normalised; masked steps already hidden (see :func:`hide`).
        mask : (B, T) bool tensor, True where the loss counts; None counts every step.
        labels : (B, T, 6) tensor, the windows before anything was hidden.

        Returns
        -------
        LimuBertForPreTrainingOutput; its ``loss`` is the mean squared error over the counted steps, in
        normalised units.
        """
        hidden = self.limu_bert(imu_values).last_hidden_state
        reconstruction = self.head(hidden)
        loss = None
        if labels is not None:
            error = (reconstruction.float() - labels.float()).square()
            loss = error.mean() if mask is None else error[mask].mean()
        return LimuBertForPreTrainingOutput(loss, reconstruction, hidden)

    @classmethod
    def from_published(cls, path, config=None):
        """Read a checkpoint of the authors' code.

        Parameters
        ----------
        path : path of a ``.pt`` file: a state dict of 29 tensors. Only tensors are unpickled.
        config : LimuBertConfig, if the checkpoint's sizes are not the published ones.

        Returns
        -------
        LimuBertForPreTraining in float32, in evaluation mode.

        Raises
        ------
        ModelError
            If the file is no such checkpoint; names the first tensor that is missing, unknown, misshapen or
            not finite.
        """
        published = _read_checkpoint(path)
        model = cls(config or LimuBertConfig())
        own = model.state_dict()
        for name, target in PUBLISHED_NAMES.items():
            _check_tensor(path, name, published.get(name), own[target].shape)
        unknown = sorted(set(published) - set(PUBLISHED_NAMES), key=str)
        if unknown:
            raise ModelError(f"{path}: unknown tensor {unknown[0]!r}; a LIMU-BERT checkpoint has no such key.")
        model.load_state_dict({ours: published[theirs].float() for theirs, ours in PUBLISHED_NAMES.items()})
        return model.eval()

    def to_published(self, path):
        """Write a checkpoint that the authors' code can read; ``from_published`` gives back the same bits."""
        own = self.state_dict()
        tensors = {theirs: own[ours].detach().cpu().contiguous() for theirs, ours in PUBLISHED_NAMES.items()}
        with files.atomic(path) as temporary:
            torch.save(tensors, temporary)


def _read_checkpoint(path):
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


AutoConfig.register("limu_bert", LimuBertConfig, exist_ok=True)
AutoModel.register(LimuBertConfig, LimuBertModel, exist_ok=True)
AutoModelForPreTraining.register(LimuBertConfig, LimuBertForPreTraining, exist_ok=True)


# --- windows in -----------------------------------------------------------------------------------


def normalise(imu):
    """SI units to what the encoder reads: acceleration / 9.8, rotation as it is.

    Parameters
    ----------
    imu : (..., 6) array or tensor; acceleration x, y, z in m/s^2 with gravity, rotation x, y, z in rad/s.

    Returns
    -------
    The same kind and shape; arrays become float32.
    """
    if isinstance(imu, torch.Tensor):
        return torch.cat([imu[..., :3] / GRAVITY, imu[..., 3:]], dim=-1)
    imu = np.array(imu, dtype=np.float32)
    imu[..., :3] /= GRAVITY
    return imu


def denormalise(imu_values):
    """The inverse of :func:`normalise`: back to m/s^2 and rad/s."""
    if isinstance(imu_values, torch.Tensor):
        return torch.cat([imu_values[..., :3] * GRAVITY, imu_values[..., 3:]], dim=-1)
    imu = np.array(imu_values, dtype=np.float32)
    imu[..., :3] *= GRAVITY
    return imu


def check_windows(imu, length=120, units=True):
    """Refuse windows that the encoder would accept in silence and misread.

    Parameters
    ----------
    imu : (N, length, 6) array or tensor that should hold m/s^2 (with gravity) and rad/s.
    length : int, time steps.
    units : bool, also judge the units by the size of the values.

    Returns
    -------
    (N, length, 6) float32 array.

    Raises
    ------
    ModelError
        For another shape, NaN or infinite values, mean acceleration far from gravity, or rotation beyond any
        human.
    """
    imu = imu.detach().cpu().numpy() if isinstance(imu, torch.Tensor) else np.asarray(imu)
    if imu.ndim != 3 or imu.shape[1:] != (length, 6):
        raise ModelError(
            f"Windows have shape {imu.shape}; the encoder reads (windows, {length} steps, 6 channels). "
            "Resample to 20 Hz and cut with signals.make_windows."
        )
    imu = imu.astype(np.float32)
    broken = np.argwhere(~np.isfinite(imu))
    if len(broken):
        window, step, channel = broken[0]
        raise ModelError(
            f"Window {window}, step {step}, channel {channel} is {imu[window, step, channel]}; "
            "cut the recording at its gaps, or fill them, before encoding."
        )
    if units:
        _check_units(imu)
    return imu


def _check_units(imu):
    # Gravity is always there, so the mean magnitude of six seconds is 9.8 at rest and below 25 when running.
    acceleration = np.linalg.norm(imu[..., :3], axis=-1).mean(axis=1)
    low, high = signals.PLAUSIBLE_ACCELERATION
    wrong = np.flatnonzero((acceleration < low) | (acceleration > high))
    if len(wrong):
        raise ModelError(
            f"Window {wrong[0]}: mean acceleration {acceleration[wrong[0]]:.3g}; in m/s^2 with gravity it is "
            "about 9.8. If it is in g, multiply by 9.80665; if gravity was removed, use the raw signal."
        )
    rotation = np.linalg.norm(imu[..., 3:], axis=-1).mean(axis=1)
    wrong = np.flatnonzero(rotation > signals.LARGEST_MEAN_ROTATION)
    if len(wrong):
        raise ModelError(
            f"Window {wrong[0]}: mean rotation {rotation[wrong[0]]:.3g}, in rad/s three turns a second "
            "or more. If it is in degrees per second, multiply by pi / 180."
        )


# --- masking --------------------------------------------------------------------------------------


def mask_spans(batch_size, length=120, ratio=0.15, max_span=10, p=0.2, skip_last=False, generator=None):
    """Choose the steps to hide, in spans, for a whole batch.

    Span lengths n in 1..max_span come with probability proportional to p (1 - p)^(n - 1) (SpanBERT's choice,
    Joshi et al. 2020); anchors are uniform, and one that is hidden already is drawn again. The last span is
    cut so that the count is exact.

    Parameters
    ----------
    batch_size, length : int, windows and time steps.
    ratio : float, share of steps to hide; 0.15 of 120 is 18.
    max_span : int, longest span drawn. Two spans may touch and look like a longer one.
    p : float, parameter of the geometric distribution.
    skip_last : bool, never hide the last step, as the published code does.
    generator : torch.Generator; None uses torch's global one.

    Returns
    -------
    (batch_size, length) bool tensor with ``round(ratio * length)`` True in every row.

    Raises
    ------
    ModelError
        If that many steps cannot be hidden.
    """
    goal, usable = round(ratio * length), length - skip_last
    if not 1 <= goal <= usable or max_span < 1:
        raise ModelError(
            f"Cannot hide {goal} of {usable} steps in spans of at most {max_span}; choose another mask ratio."
        )
    chances = p * (1 - p) ** torch.arange(max_span, dtype=torch.float64)
    steps = torch.arange(length)
    mask = torch.zeros(batch_size, length, dtype=torch.bool)
    left = torch.full((batch_size, 1), goal)
    while left.any():  # a handful of rounds: one span per window and round, all windows at once
        spans = torch.multinomial(chances, batch_size, replacement=True, generator=generator)[:, None] + 1
        anchors = torch.randint(length, (batch_size, 1), generator=generator)
        ends = (anchors + torch.minimum(spans, left)).clamp(max=usable)
        mask |= (steps >= anchors) & (steps < ends) & ~mask.gather(1, anchors)
        left = goal - mask.sum(1, keepdim=True)
    return mask


def hide(imu_values, mask, zero_probability=0.8, generator=None):
    """Zero the masked steps in most windows; leave the rest as they are.

    The windows left untouched (one in five) teach the encoder to describe steps that it can see as well.

    Parameters
    ----------
    imu_values : (B, T, 6) tensor, normalised.
    mask : (B, T) bool tensor.
    zero_probability : float, chance of each window to have its masked steps zeroed.
    generator : torch.Generator; None uses torch's global one.

    Returns
    -------
    (B, T, 6) tensor; the input is not changed.
    """
    zeroed = torch.rand(len(imu_values), generator=generator) < zero_probability
    return imu_values.masked_fill((mask & zeroed[:, None])[..., None], 0.0)


# --- training and use -----------------------------------------------------------------------------


class PretrainingWindows(torch.utils.data.Dataset):
    """Normalised windows in memory, as the trainer wants them. Batches are indexed at once."""

    def __init__(self, imu_values):
        self.imu_values = imu_values

    def __len__(self):
        return len(self.imu_values)

    def __getitem__(self, index):
        return {"imu_values": self.imu_values[index]}

    def __getitems__(self, indices):
        return [{"imu_values": self.imu_values[index]} for index in indices]


def masking_collate(settings):
    """A collate function that masks a whole batch anew each time it is drawn.

    Masks come from torch's global generator, which the trainer seeds, saves and restores: a resumed run draws
    the masks that the uninterrupted one would have drawn.
    """

    def collate(items):
        labels = torch.stack([item["imu_values"] for item in items])
        mask = mask_spans(*labels.shape[:2], settings.mask_ratio, settings.max_span, settings.span_decay)
        return {
            "imu_values": hide(labels, mask, settings.mask_zero_probability),
            "mask": mask,
            "labels": labels,
        }

    return collate


def pretrain(windows, settings, folder, seed=0, config=None):
    """Train a LIMU-BERT to fill in hidden spans. No label is read.

    Parameters
    ----------
    windows : ``datasets.Dataset`` of windows, or (N, 120, 6) array, in SI units; training subjects only.
    settings : a profile's ``encoder`` section.
    folder : path; checkpoints live there while training lasts, and an interrupted run resumes.
    seed : int, for weights, order and masks.
    config : LimuBertConfig; the published sizes by default.

    Returns
    -------
    model : LimuBertForPreTraining, in evaluation mode.
    history : list of dicts with step, epoch and loss (mean squared error on hidden steps, normalised units).
    """
    config = config or LimuBertConfig()
    imu = windows if isinstance(windows, np.ndarray | torch.Tensor) else signals.to_array(windows)
    values = torch.from_numpy(normalise(check_windows(imu, config.max_position_embeddings)))
    torch.manual_seed(seed)
    model = LimuBertForPreTraining(config)
    history = training.fit(
        model,
        PretrainingWindows(values),
        folder,
        settings,
        seed,
        collate=masking_collate(settings),
        description="LIMU-BERT",
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
    (N, 120, 72) float32 array, or what ``reduce`` makes of it.

    Raises
    ------
    ModelError
        If the windows have another shape, NaN, or units that are obviously wrong.
    """
    encoder = getattr(model, "limu_bert", model)
    values = torch.from_numpy(normalise(check_windows(imu, encoder.config.max_position_embeddings)))
    was_training = encoder.training
    encoder.eval()
    parts = [
        encoder(batch.to(encoder.device, encoder.dtype)).last_hidden_state.float().cpu().numpy()
        for batch in values.split(batch_size)
    ]
    encoder.train(was_training)
    return np.concatenate([reduce(part) if reduce else part for part in parts])


def pool(embeddings):
    """Mean and spread over time: (N, T, H) -> (N, 2 H). Arrays of two axes pass as they are."""
    embeddings = np.asarray(embeddings)
    if embeddings.ndim == 2:
        return embeddings
    return np.concatenate([embeddings.mean(axis=1), embeddings.std(axis=1)], axis=1)


def linear_probe(embeddings, activities, regularisation=1.0, seed=0):
    """How much of the activity can be read off frozen embeddings by a linear model.

    Parameters
    ----------
    embeddings : (N, T, H) or, pooled already, (N, F) array.
    activities : N names.
    regularisation : float, the C of scikit-learn's ``LogisticRegression``: larger trusts the data more.
    seed : int.

    Returns
    -------
    Fitted scikit-learn pipeline (pool, standardise, logistic regression); ``predict`` takes the same kind of
    array.
    """
    probe = make_pipeline(
        FunctionTransformer(pool),
        StandardScaler(),
        LogisticRegression(C=regularisation, max_iter=3000, random_state=seed),
    )
    return probe.fit(embeddings, np.asarray(activities))
