"""What turns encoder states and window statistics into soft tokens."""

import torch
from torch import nn
from transformers.activations import ACT2FN


class LlasaProjector(nn.Module):
    """Encoder states and window statistics -> soft tokens of the language model's width.

    Each part is Linear - GELU - Linear, the published ``mlp2x_gelu``.
    """

    def __init__(self, config):
        super().__init__()
        hidden, width = config.text_config.hidden_size, config.encoder_config.hidden_size
        self.config = config
        if config.steps_per_token:
            self.states_per_token = config.steps_per_token // config.encoder_config.patch_size
            self.steps_1 = nn.Linear(width * self.states_per_token, hidden)
            self.steps_2 = nn.Linear(hidden, hidden)
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
        """``states`` (M, S, E) or None, ``summary`` (M, 132) -> (M, tokens_per_window, H)."""
        tokens = []
        if self.config.summary_tokens:
            made = self.summary_2(self.act(self.summary_1(summary)))  # (M, S * H)
            tokens.append(made.unflatten(1, (self.config.summary_tokens, -1)))  # (M, S, H)
        if self.config.steps_per_token:
            if self.config.standardise:
                states = (states - self.state_mean) / self.state_std
            grouped = states.unflatten(1, (-1, self.states_per_token)).flatten(2)  # (M, T / k, k / p * E)
            tokens.append(self.steps_2(self.act(self.steps_1(grouped))))  # (M, T / k, H)
        tokens = torch.cat(tokens, dim=1)
        if self.config.standardise:
            # Louder tokens than words would drown what the language model's own layers add to them.
            tokens = nn.functional.rms_norm(tokens, tokens.shape[-1:]) * self.token_size
        return tokens
