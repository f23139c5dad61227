"""Configuration of a LLaSA model."""

import copy
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig, configuration_utils

from llasa_lib import signals
from llasa_lib.errors import ModelError

_PARTS = {"encoder_config": "limu_bert", "text_config": "llama"}  # and what they are where nothing says it


@strict
class LlasaConfig(PreTrainedConfig):
    """Configuration of a LLaSA model.

    Parameters
    ----------
    encoder_config, text_config : PreTrainedConfig or dict
        Of the IMU encoder (LIMU-BERT or a variant of it) and of the language model.
    imu_token_id : int
        Id of the placeholder ``<imu>``.
    steps_per_token : int
        Time steps whose states are concatenated into one soft token; 1 as published (120 tokens), 0 for no time-step
        tokens. A multiple of the encoder's ``patch_size``.
    summary_tokens : int
        Soft tokens made from the window's statistics; 0 as published.
    summary_size : int
        Number of statistics (:meth:`ImuFeatureExtractor.summary`).
    projector : {"mlp2x_gelu", "linear", "pool", "resampler"}
        How states become time-step tokens, always as many (:class:`LlasaProjector`). ``mlp2x_gelu`` as published.
    projector_hidden_act : str
    standardise : bool
        Standardise encoder states in front of the projector, and give soft tokens the size of word embeddings behind
        it. Published projectors do neither; on small data it is what keeps the projector's output from running away.
    activities : list of str, optional
        What alignment taught the model to name.
    """

    model_type = "llasa"
    # A Trainer's metrics get the logits alone. The cache has another name from Transformers 5.24 on.
    keys_to_ignore_at_inference = ["past_key_values", "cache", "imu_hidden_states"]  # noqa: RUF012 - as the base class
    if hasattr(configuration_utils, "SubConfigSpec"):
        sub_configs_defaults = {
            name: configuration_utils.SubConfigSpec(config_class=AutoConfig, model_type=kind)
            for name, kind in _PARTS.items()
        }
    else:  # before Transformers 5.21
        sub_configs = dict.fromkeys(_PARTS, AutoConfig)

    encoder_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    imu_token_id: int = 49152
    steps_per_token: int = 1
    summary_tokens: int = 0
    summary_size: int = 2 * len(signals.STATISTICS) + 6
    projector: Literal["linear", "mlp2x_gelu", "pool", "resampler"] = "mlp2x_gelu"
    projector_hidden_act: str = "gelu"
    standardise: bool = False
    activities: list[str] | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        for name, kind in _PARTS.items():
            # A copy: to put a configuration into another resets its attention setting, and a live model shares its own.
            part = copy.deepcopy(getattr(self, name))
            if not isinstance(part, PreTrainedConfig):
                part = AutoConfig.for_model(**{"model_type": kind, **(part or {})})
            setattr(self, name, part)
        super().__post_init__(**kwargs)
        # Whether input and output embeddings are one matrix is the language model's property.
        self.tie_word_embeddings = bool(self.text_config.tie_word_embeddings)
        for part in (self.encoder_config, self.text_config):
            part._name_or_path = ""  # a path on the machine where the parts were joined
        if min(self.steps_per_token, self.summary_tokens) < 0 or not self.steps_per_token + self.summary_tokens:
            raise ModelError(
                f"steps_per_token={self.steps_per_token} and summary_tokens={self.summary_tokens} give a window no "
                "token. Set at least one of them above 0, and none below."
            )
        if self.steps_per_token and self.encoder_config.max_position_embeddings % self.steps_per_token:
            raise ModelError(
                f"steps_per_token={self.steps_per_token} does not divide the window's "
                f"{self.encoder_config.max_position_embeddings} steps. Choose a divisor, or 0 for no time-step tokens."
            )
        if self.steps_per_token % self.encoder_config.patch_size:
            raise ModelError(
                f"steps_per_token={self.steps_per_token} is no multiple of the {self.encoder_config.patch_size} steps "
                f"that the encoder puts into each of its tokens."
            )

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """As Transformers reads it, but a configuration of another model is refused: its weights would be random."""
        found = config_dict.get("model_type", cls.model_type)
        if found != cls.model_type:
            raise ModelError(
                f"The configuration is of a {found!r} model, not of a LLaSA model. Give a folder that llasa align or "
                "llasa tune wrote, or read this one with transformers.AutoModel."
            )
        return super().from_dict(config_dict, **kwargs)

    @property
    def tokens_per_window(self):
        """Soft tokens that stand for one window."""
        steps = self.encoder_config.max_position_embeddings // self.steps_per_token if self.steps_per_token else 0
        return steps + self.summary_tokens

    @property
    def context(self):
        """Tokens that fit into the language model, or None if it knows no limit."""
        return getattr(self.text_config, "max_position_embeddings", None)
