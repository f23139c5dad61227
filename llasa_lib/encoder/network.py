"""The network: configuration, layers, and the models with and without a head."""

import dataclasses

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForPreTraining, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import ModelOutput

from llasa_lib.encoder import published
from llasa_lib.encoder.windows import GRAVITY
from llasa_lib.errors import ModelError

CLASSIFIERS = ("linear", "gru")
BLOCKS = ("published", "residual", "pre_norm")
VARIANTS = ("patch_size", "block", "share_layers", "standardise", "fine_channels", "gravity_aligned", "mask_token")
"""Fields that make another network than the published one."""
FINE = (0.01 / GRAVITY,) * 3 + (0.005,) * 3
"""In normalised units: 0.01 m/s^2 and 0.005 rad/s, about the noise of a phone's sensors at 20 Hz."""


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
        published code does. See :func:`look_around`. Only for blocks of the kind ``"published"``.
    patch_size : int, time steps per token; must divide ``max_position_embeddings``.
    block : str
        ``"published"``: attention replaces its input. ``"residual"``: the same with a residual around the attention.
        ``"pre_norm"``: residuals around both halves, norms inside them, as in every newer Transformer.
    share_layers : bool, one block for all layers.
    standardise : bool, channels of mean 0 and spread 1 over the training windows (:meth:`LimuBertInput.fit`).
    fine_channels : bool, six more channels in which tiny movements are as large as steps. See :class:`LimuBertInput`.
    gravity_aligned : bool, turn every window so that gravity points along +z: then it does not matter how the sensor
        was worn, and posture can no longer be seen.
    mask_token : bool, a learned vector instead of zeros for tokens that are hidden in pretraining.
    classifier : str, head of a LimuBertForSequenceClassification: ``"linear"``, or ``"gru"`` as published.
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
    patch_size: int = 1
    block: str = "published"
    share_layers: bool = True
    standardise: bool = False
    fine_channels: bool = False
    gravity_aligned: bool = False
    mask_token: bool = False
    classifier: str = "linear"

    def __post_init__(self, **kwargs):
        if self.patch_size < 1 or self.max_position_embeddings % self.patch_size:
            raise ModelError(
                f"patch_size={self.patch_size} does not divide the {self.max_position_embeddings} steps of a window."
            )
        for name, known in (("block", BLOCKS), ("classifier", CLASSIFIERS)):
            if getattr(self, name) not in known:
                raise ModelError(f"{name}={getattr(self, name)!r} is none of {', '.join(known)}.")
        super().__post_init__(**kwargs)

    @property
    def num_tokens(self):
        """Tokens per window."""
        return self.max_position_embeddings // self.patch_size

    @property
    def num_features(self):
        """Numbers per time step that the network reads and reconstructs."""
        return self.num_channels * (1 + self.fine_channels)


class LimuBertLayerNorm(nn.LayerNorm):
    """LayerNorm in float32, whatever comes in.

    In half precision eps = 1e-12 is 0, so a norm written out by hand turns constant input into NaN. PyTorch's
    own kernels calculate in float32 already on most devices; this does not rely on it.
    """

    def forward(self, hidden):
        normed = F.layer_norm(hidden.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps)
        return normed.to(hidden.dtype)


class LimuBertInput(nn.Module):
    """What the network reads of a window; nothing is learned here but scales. The published input is the window itself.

    Fine channels: how far each value lies from its window's mean, through asinh(x / FINE). That is linear up to the
    sensor's noise and logarithmic beyond, so that the sway of somebody who stands, a small part of a step in size,
    can be seen beside a step.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        if config.standardise:
            self.register_buffer("mean", torch.zeros(config.num_features))
            self.register_buffer("std", torch.ones(config.num_features))

    @torch.no_grad()
    def fit(self, imu_values):
        """Learn mean and spread of each channel from training windows, (N, T, 6), normalised."""
        if self.config.standardise:
            features = self._features(imu_values, None).flatten(0, 1)
            self.mean.copy_(features.mean(0))
            std = features.std(0)
            self.std.copy_(torch.where(std < 1e-4, 1.0, std))  # a dead channel stays as it is

    def forward(self, imu_values, hidden=None):
        """(B, T, 6) normalised -> (B, T, F). Steps that are ``hidden`` (B, T) have no part in means over the window."""
        features = self._features(imu_values, hidden)
        return (features - self.mean) / self.std if self.config.standardise else features

    def undo(self, features):
        """(B, T, F) -> (B, T, 6): back to normalised units; a window that was turned stays so."""
        if self.config.standardise:
            features = features * self.std + self.mean
        return features[..., : self.config.num_channels]

    def _features(self, imu_values, hidden):
        if self.config.gravity_aligned:
            imu_values = _upright(imu_values, _mean(imu_values[..., :3], hidden))
        if not self.config.fine_channels:
            return imu_values
        fine = torch.asinh((imu_values - _mean(imu_values, hidden)) / imu_values.new_tensor(FINE))
        return torch.cat([imu_values, fine], dim=-1)


def _mean(values, hidden):
    """(B, T, C) -> (B, 1, C): mean over the steps that can be seen."""
    if hidden is None:
        return values.mean(1, keepdim=True)
    seen = (~hidden)[..., None].to(values.dtype)
    return (values * seen).sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp(min=1)


def _upright(imu_values, gravity):
    """Turn windows (B, T, 6) so that ``gravity`` (B, 1, 3) points along +z, by the shortest way."""
    x, y, z = F.normalize(gravity.float(), dim=-1).unbind(-1)  # each (B, 1)
    level = torch.hypot(x, y)
    # Rodrigues' formula, without its 1 / (1 + z); exactly upside down any axis serves: x.
    known = level > 1e-6
    a, b = torch.where(known, x / level, 0.0), torch.where(known, y / level, 1.0)
    k = 1 - z
    turn = torch.stack([1 - k * a * a, -k * a * b, -x, -k * a * b, 1 - k * b * b, -y, x, y, z], dim=-1)
    turn = turn.unflatten(-1, (3, 3)).to(imu_values.dtype)  # (B, 1, 3, 3)
    return torch.cat([(turn @ part[..., None])[..., 0] for part in imu_values.split(3, dim=-1)], dim=-1)


class LimuBertEmbeddings(nn.Module):
    """Patches of channels to ``hidden_size`` numbers, plus a learned position; the same norm before and after.

    A network of pre-norm blocks has no norm here: its residual stream keeps the size of what was measured.
    """

    def __init__(self, config):
        super().__init__()
        self.patch_size = config.patch_size
        self.projection = nn.Linear(config.num_features * config.patch_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.num_tokens, config.hidden_size)
        if config.mask_token:
            self.mask_token = nn.Parameter(torch.zeros(config.hidden_size))
        normed = config.block != "pre_norm"
        self.norm = LimuBertLayerNorm(config.hidden_size, eps=config.layer_norm_eps) if normed else nn.Identity()

    def forward(self, features, hidden=None):
        tokens = self.projection(features.unflatten(1, (-1, self.patch_size)).flatten(2))  # (B, T / p, H)
        if hidden is not None and hasattr(self, "mask_token"):
            covered = hidden.unflatten(1, (-1, self.patch_size)).any(-1, keepdim=True)  # (B, T / p, 1)
            tokens = torch.where(covered, self.mask_token, tokens)
        positions = self.position_embeddings.weight[: tokens.shape[1]]
        return self.norm(self.norm(tokens) + positions)


def _take(values, positions):
    """(B, N, ...) at ``positions`` (B, M) of each window -> (B, M, ...)."""
    index = positions.reshape(*positions.shape, *[1] * (values.ndim - 2))
    return values.gather(1, index.expand(-1, -1, *values.shape[2:]))


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

    def forward(self, asking, states, output_attentions=False):
        """What each of the steps ``asking`` (B, M, H) finds in ``states`` (B, T, H): (B, M, H) and the weights."""

        def split(x):  # (B, T, H) -> (B, heads, T, H / heads)
            return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

        query, key, value = split(self.query(asking)), split(self.key(states)), split(self.value(states))
        weights = None
        if output_attentions or self.config._attn_implementation == "eager":
            scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5  # (B, heads, M, T)
            weights = scores.float().softmax(-1).to(scores.dtype)
            mixed = weights @ value
        else:  # the fused kernel never writes the T x T weights to memory
            mixed = F.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).flatten(2), weights


class LimuBertBlock(nn.Module):
    """Attention, projection, feed-forward.

    NOTE: unlike BERT's, the published block adds no residual around the attention: ``h = attention(h)`` replaces its
    input, and the first residual spans only the projection after it. The published weights were trained so.
    """

    def __init__(self, config):
        super().__init__()
        self.kind = config.block
        self.attention = LimuBertAttention(config)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm1 = LimuBertLayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.norm2 = LimuBertLayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, states, output_attentions=False, positions=None):
        """(B, N, H) -> (B, N, H), or (B, M, H) at ``positions`` (B, M): all are looked at, but only these go on."""
        seen = self.norm1(states) if self.kind == "pre_norm" else states
        asking = seen
        if positions is not None:
            states, asking = _take(states, positions), _take(seen, positions)
        mixed, weights = self.attention(asking, seen, output_attentions)
        if self.kind == "pre_norm":
            states = states + self.output(mixed)
            return states + self._feed_forward(self.norm2(states)), weights
        kept = mixed if self.kind == "published" else states
        states = self.norm1(kept + self.output(mixed))
        return self.norm2(states + self._feed_forward(states)), weights

    def _feed_forward(self, hidden):
        return self.fc2(F.gelu(self.fc1(hidden)))


class LimuBertPreTrainedModel(PreTrainedModel):
    config_class = LimuBertConfig
    base_model_prefix = "limu_bert"
    main_input_name = "imu_values"
    accepts_loss_kwargs = False  # a mean over its batch, whatever else the Trainer passes to forward
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
    positions = model.embeddings.position_embeddings.weight
    steps, width = positions.shape
    half = (width + 1) // 2
    # From one turn in 4 steps to one in 400; shuffled, so that every head gets slow and fast ones.
    angles = torch.arange(steps)[:, None] * torch.pi / 2 * 100 ** (-torch.arange(half) / half)
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)[:, torch.randperm(2 * half)[:width]]
    # transformers' own copy_ and zeros_ leave a tensor alone that was loaded from a checkpoint.
    init.copy_(positions, 2**0.5 * waves)
    for attention in (block.attention for block in model.blocks):
        for layer in (attention.query, attention.key):
            init.copy_(layer.weight, 0.2 * layer.weight + gain * torch.eye(width))
            init.zeros_(layer.bias)
        init.copy_(attention.value.weight, attention.value.weight + torch.eye(width))
        init.zeros_(attention.value.bias)


class LimuBertModel(LimuBertPreTrainedModel):
    """The encoder: a window in, 72 numbers per time step out - or ``hidden_size`` per patch of steps.

    Example::

        encoder = LimuBertModel.from_pretrained(folder)
        hidden = encoder(normalise(torch.as_tensor(imu))).last_hidden_state  # (B, 120, 72)
    """

    # An encoder may be taken out of a pretrained checkpoint; its head is then left behind without a warning.
    _keys_to_ignore_on_load_unexpected = (r"^head\.", r"^fc\.")

    def __init__(self, config):
        super().__init__(config)
        self.input = LimuBertInput(config)
        self.embeddings = LimuBertEmbeddings(config)
        count = 1 if config.share_layers else config.num_hidden_layers
        self.blocks = nn.ModuleList(LimuBertBlock(config) for _ in range(count))
        self.post_init()
        # NOTE: not in _init_weights, which transformers asks about layers with weights of their own only.
        if config.attention_gain and config.block == "published":
            look_around(self, config.attention_gain)
        if config.block == "pre_norm":
            # No norm follows: positions of size 1, torch's default, would drown a quiet window.
            init.normal_(self.embeddings.position_embeddings.weight, std=0.02)

    def get_input_embeddings(self):
        return self.embeddings.projection

    def forward(self, imu_values, hidden=None, output_attentions=False, positions=None, **kwargs):
        """Encode windows.

        Parameters
        ----------
        imu_values : (B, T, 6) tensor, *normalised*: acceleration / 9.8, rotation in rad/s. T at most 120.
        hidden : (B, T) bool tensor, optional; True for steps that are not to be seen, in pretraining.
        output_attentions : bool, also give the attention weights, one (B, heads, N, N) tensor per layer.
        positions : (B, M) int64 tensor, optional; tokens whose states are wanted. The last layer is calculated for
            these only, which saves most of it when few tokens are hidden.

        Returns
        -------
        BaseModelOutput with ``last_hidden_state`` (B, N, H), N = T / patch_size tokens, or (B, M, H) if there are
        ``positions``, and, if asked for, ``attentions``.
        """
        # Converted here: in half precision the fine channels would be smaller than the rounding of their window.
        features = self.input(imu_values, hidden).to(next(self.embeddings.parameters()).dtype)
        states, maps = self.embeddings(features, hidden), []
        last = self.config.num_hidden_layers - 1
        for layer in range(last + 1):
            block, asked = self.blocks[layer % len(self.blocks)], positions if layer == last else None
            states, weights = block(states, output_attentions, asked)
            maps.append(weights)
        return BaseModelOutput(last_hidden_state=states, attentions=tuple(maps) if output_attentions else None)


@dataclasses.dataclass
class LimuBertForPreTrainingOutput(ModelOutput):
    """``loss`` (if labels were given), ``reconstruction`` (B, T, 6) and ``last_hidden_state`` (B, N, H)."""

    loss: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None


class LimuBertReconstructionHead(nn.Module):
    """States back to channels: (B, N, H) -> (B, N * patch_size, F)."""

    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = LimuBertLayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, config.num_features * config.patch_size)
        self.patch_size = config.patch_size

    def forward(self, states):
        patches = self.decoder(self.norm(F.gelu(self.dense(states))))
        return patches.unflatten(-1, (self.patch_size, -1)).flatten(1, 2)


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

    def forward(self, imu_values, mask=None, labels=None, hidden=None, loss_only=False, **kwargs):
        """Reconstruct windows.

        Parameters
        ----------
        imu_values : (B, T, 6) tensor, normalised; masked steps already zeroed (see :func:`hide`).
        mask : (B, T) bool tensor, True where the loss counts; None counts every step.
        labels : (B, T, 6) tensor, the windows before anything was hidden.
        hidden : (B, T) bool tensor, True where ``imu_values`` was zeroed.
        loss_only : bool, for training with ``mask`` and ``labels``: only what the loss needs is calculated, which is
            the same number sooner.

        Returns
        -------
        LimuBertForPreTrainingOutput; its ``loss`` is the mean squared error over the counted steps, in what the
        network reads: normalised units in the published network, otherwise see :class:`LimuBertInput`.
        """
        if loss_only:
            return LimuBertForPreTrainingOutput(loss=self._masked_loss(imu_values, mask, labels, hidden))
        states = self.limu_bert(imu_values, hidden).last_hidden_state
        features = self.head(states)  # (B, T, F)
        loss = None
        if labels is not None:
            error = (features.float() - self.limu_bert.input(labels, hidden).float()).square()
            loss = error.mean() if mask is None else error[mask].mean()
        return LimuBertForPreTrainingOutput(loss, self.limu_bert.input.undo(features), states)

    def _masked_loss(self, imu_values, mask, labels, hidden):
        patch = self.config.patch_size
        counted = mask.unflatten(1, (-1, patch))  # (B, N, p)
        # Counted tokens come first. A window with fewer of them than another gets some that do not count.
        order = counted.any(-1).byte().argsort(dim=1, descending=True, stable=True)
        positions = order[:, : counted.any(-1).sum(1).max()]
        targets = self.limu_bert.input(labels, hidden).unflatten(1, (-1, patch))  # (B, N, p, F)
        states = self.limu_bert(imu_values, hidden, positions=positions).last_hidden_state
        features = self.head(states).unflatten(1, (-1, patch))  # (B, M, p, F)
        error = (features.float() - _take(targets, positions).float()).square()
        return error[_take(counted, positions)].mean()

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
        model = cls(config or LimuBertConfig())
        _check_published(model.config)
        model.load_state_dict(published.read(path, model.state_dict()))
        return model.eval()

    def to_published(self, path):
        """Write a checkpoint that the authors' code can read; ``from_published`` gives back the same bits."""
        _check_published(self.config)
        published.write(path, self.state_dict())


def _check_published(config):
    plain = LimuBertConfig()
    for name in VARIANTS:
        if getattr(config, name) != getattr(plain, name):
            raise ModelError(
                f"{name}={getattr(config, name)!r}: the authors' checkpoints hold the published network only, "
                f"which has {getattr(plain, name)!r}."
            )


AutoConfig.register("limu_bert", LimuBertConfig, exist_ok=True)
AutoModel.register(LimuBertConfig, LimuBertModel, exist_ok=True)
AutoModelForPreTraining.register(LimuBertConfig, LimuBertForPreTraining, exist_ok=True)
