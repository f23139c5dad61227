"""What turns encoder states and window statistics into soft tokens."""

import torch
from torch import nn
from transformers.activations import ACT2FN


class Resampler(nn.Module):
    """Learned queries look over all states of a window, one query per token: (M, S, E) -> (M, tokens, E)."""

    def __init__(self, states, tokens, width, heads):
        super().__init__()
        self.queries = nn.Parameter(torch.empty(tokens, width))
        self.positions = nn.Parameter(torch.empty(states, width))
        # NOTE: no biases. One on the keys adds the same to every score of a query, so softmax would never train it.
        self.attention = nn.MultiheadAttention(width, heads, bias=False, batch_first=True)

    def forward(self, states):
        placed = states + self.positions  # (M, S, E): attention alone does not know what came first
        queries = self.queries.expand(len(states), -1, -1)  # (M, tokens, E)
        return self.attention(queries, placed, placed, need_weights=False)[0]


class LlasaProjector(nn.Module):
    """Encoder states and window statistics -> soft tokens of the language model's width.

    Statistics always go through Linear - GELU - Linear. States, by ``config.projector``:

    - ``mlp2x_gelu``: a token's states side by side, Linear - GELU - Linear; published;
    - ``linear``: a token's states side by side, one Linear;
    - ``pool``: the mean of a token's states, Linear - GELU - Linear; its size does not grow with ``steps_per_token``;
    - ``resampler``: one query per token attends to all states (:class:`Resampler`), one Linear.
    """

    def __init__(self, config):
        super().__init__()
        hidden, width = config.text_config.hidden_size, config.encoder_config.hidden_size
        self.config = config
        if config.steps_per_token:
            self.states_per_token = config.steps_per_token // config.encoder_config.patch_size
            side_by_side = config.projector in ("mlp2x_gelu", "linear")
            self.steps_1 = nn.Linear(width * self.states_per_token if side_by_side else width, hidden)
            if config.projector in ("mlp2x_gelu", "pool"):
                self.steps_2 = nn.Linear(hidden, hidden)
            if config.projector == "resampler":
                states = config.encoder_config.max_position_embeddings // config.encoder_config.patch_size
                heads = config.encoder_config.num_attention_heads
                self.resampler = Resampler(states, states // self.states_per_token, width, heads)
        if config.summary_tokens:
            self.summary_1 = nn.Linear(config.summary_size, hidden)
            self.summary_2 = nn.Linear(hidden, hidden * config.summary_tokens)
        self.act = ACT2FN[config.projector_hidden_act]
        if config.standardise:
            self.register_buffer("state_mean", torch.zeros(width))
            self.register_buffer("state_std", torch.ones(width))
            self.register_buffer("token_size", torch.ones(()))

    @torch.no_grad()
    def fit(self, states, embeddings):
        """Learn the scales of both sides.

        Parameters
        ----------
        states : (N, S, E) tensor
            Encoder states of training windows; S = 120 and E = 72 in the published network.
        embeddings : (V, H) tensor
            Word embeddings; soft tokens get their root mean square.
        """
        self.state_mean.copy_(states.flatten(0, 1).mean(0))
        self.state_std.copy_(states.flatten(0, 1).std(0).clamp(min=1e-6))
        self.token_size.copy_(embeddings.float().square().mean().sqrt())

    def forward(self, states, summary):
        """``states`` (M, S, E) or None, ``summary`` (M, 446) -> (M, tokens_per_window, H)."""
        tokens = []
        if self.config.summary_tokens:
            made = self.summary_2(self.act(self.summary_1(summary)))  # (M, S * H)
            tokens.append(made.unflatten(1, (self.config.summary_tokens, -1)))  # (M, S, H)
        if self.config.steps_per_token:
            if self.config.standardise:
                states = (states - self.state_mean) / self.state_std
            tokens.append(self.project_steps(states))
        tokens = torch.cat(tokens, dim=1)
        if self.config.standardise:
            # Louder tokens than words would drown what the language model's own layers add to them.
            tokens = nn.functional.rms_norm(tokens, tokens.shape[-1:]) * self.token_size
        return tokens

    def project_steps(self, states):
        """Time-step tokens: (M, S, E) -> (M, T / steps_per_token, H)."""
        if self.config.projector == "resampler":
            return self.steps_1(self.resampler(states))
        grouped = states.unflatten(1, (-1, self.states_per_token))  # (M, tokens, states per token, E)
        grouped = grouped.mean(2) if self.config.projector == "pool" else grouped.flatten(2)
        made = self.steps_1(grouped)
        return made if self.config.projector == "linear" else self.steps_2(self.act(made))
