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
from llasa_lib.errors import ModelError


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
        model = cls(config or LimuBertConfig())
        model.load_state_dict(published.read(path, model.state_dict()))
        return model.eval()

    def to_published(self, path):
        """Write a checkpoint that the authors' code can read; ``from_published`` gives back the same bits."""
        published.write(path, self.state_dict())


AutoConfig.register("limu_bert", LimuBertConfig, exist_ok=True)
AutoModel.register(LimuBertConfig, LimuBertModel, exist_ok=True)
AutoModelForPreTraining.register(LimuBertConfig, LimuBertForPreTraining, exist_ok=True)
