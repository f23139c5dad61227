"""LLaSA: a language model that reads six seconds of motion.

Notable features:

- three small Transformers classes, as LLaVA has them: ``LlasaConfig``, ``LlasaProcessor``,
  ``LlasaForConditionalGeneration``; composed of two existing models, registered with the Auto classes;
  ``generate``, ``save_pretrained`` and ``from_pretrained`` are inherited;
- all normalisation lives in the processor: windows in SI units go in, nobody divides by 9.8 elsewhere;
- the projector makes two kinds of soft tokens: *time-step tokens* from the encoder's states (``steps_per_token=1`` on
  the published LIMU-BERT is the published 120-token ``mlp2x_gelu``) and a few *summary tokens* from the window's
  named statistics; either can be off;
- in training, logits are computed only where there is a label.
"""

import copy
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from huggingface_hub.dataclasses import strict
from safetensors import SafetensorError
from torch import nn
from tqdm import tqdm
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForImageTextToText,
    AutoProcessor,
    BatchFeature,
    FeatureExtractionMixin,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.activations import ACT2FN
from transformers.configuration_utils import SubConfigSpec
from transformers.utils import ModelOutput

from . import encoder, files, language_models, recordings, signals, training
from .errors import ModelError

IMU_TOKEN = "<imu>"
CAPTION_PROMPT = "Describe what the sensor felt."
IGNORE = -100  # torch's cross-entropy skips targets with this value


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
        Number of statistics (:data:`llasa_lib.signals.SUMMARY_NAMES`).
    projector_hidden_act : str
    standardise : bool
        Standardise encoder states in front of the projector, and give soft tokens the size of word embeddings behind
        it. Published projectors do neither; on small data it is what keeps the projector's output from running away.
    """

    model_type = "llasa"
    sub_configs_defaults = {  # noqa: RUF012 - the base class declares it so
        "encoder_config": SubConfigSpec(config_class=AutoConfig, model_type="limu_bert"),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
    }

    encoder_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    imu_token_id: int = 49152
    steps_per_token: int = 1
    summary_tokens: int = 0
    summary_size: int = len(signals.SUMMARY_NAMES)
    projector_hidden_act: str = "gelu"
    standardise: bool = False
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        # Copies: to put a configuration into another resets its attention setting, and a live model shares its own.
        self.encoder_config, self.text_config = copy.deepcopy(self.encoder_config), copy.deepcopy(self.text_config)
        super().__post_init__(**kwargs)
        # Whether input and output embeddings are one matrix is the language model's property.
        self.tie_word_embeddings = bool(self.text_config.tie_word_embeddings)
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

    @property
    def tokens_per_window(self):
        """Soft tokens that stand for one window."""
        steps = self.encoder_config.max_position_embeddings // self.steps_per_token if self.steps_per_token else 0
        return steps + self.summary_tokens


class ImuFeatureExtractor(FeatureExtractionMixin):
    """Windows in SI units -> what the two halves of the projector read.

    Parameters
    ----------
    summary_mean, summary_std : list of float, optional
        Mean and spread of the statistics over the *training* windows; :meth:`fit` sets them.
    length : int
        Time steps per window.
    """

    model_input_names = ["imu_values", "imu_summary"]  # noqa: RUF012 - the base class declares it so

    def __init__(self, summary_mean=None, summary_std=None, length=120, **kwargs):
        super().__init__(**kwargs)
        size = len(signals.SUMMARY_NAMES)
        self.summary_mean = list(summary_mean) if summary_mean is not None else [0.0] * size
        self.summary_std = list(summary_std) if summary_std is not None else [1.0] * size
        self.length = length

    def fit(self, windows):
        """Learn mean and spread of the statistics from training windows, (N, T, 6) in SI units. Returns self."""
        summary = signals.summarise(windows)
        self.summary_mean = summary.mean(0).astype(float).tolist()
        # A statistic that never changes carries nothing: a floor keeps it from being divided by zero.
        self.summary_std = np.maximum(summary.std(0), 1e-6).astype(float).tolist()
        return self

    def __call__(self, imu, return_tensors="pt", check_units=True):
        """Normalise windows.

        Parameters
        ----------
        imu : (T, 6) or (N, T, 6) array, path to a recording, window row with ``"imu"``, or a list of these
            m/s^2 with gravity, rad/s. Of a recording, the first window is taken.
        check_units : bool
            Refuse windows without gravity. Only a control that unplugs the sensor has a reason to switch it off.

        Returns
        -------
        BatchFeature
            ``imu_values`` (N, T, 6): acceleration / 9.8 and rotation, for the encoder;
            ``imu_summary`` (N, 132): standardised statistics.
        """
        windows = self.windows(imu, check_units)
        summary = (signals.summarise(windows) - np.array(self.summary_mean)) / np.array(self.summary_std)
        data = {"imu_values": encoder.normalise(windows), "imu_summary": summary.astype(np.float32)}
        data = {name: np.asarray(value, dtype=np.float32) for name, value in data.items()}
        return BatchFeature(data, tensor_type=return_tensors)

    def windows(self, imu, check_units=True):
        """Anything that holds windows -> (N, T, 6) float32 in SI units, checked."""
        if isinstance(imu, (str, Path)):
            found = signals.make_windows([recordings.read(imu)], length=self.length, labelled=False)
            imu = signals.to_array(found)[:1]
        elif isinstance(imu, dict):
            imu = imu["imu"]
        elif isinstance(imu, (list, tuple)) and len(imu) and isinstance(imu[0], (str, Path, dict)):
            imu = np.concatenate([self.windows(one, check_units) for one in imu])
        imu = np.asarray(imu, dtype=np.float32)
        imu = imu[None] if imu.ndim == 2 else imu
        return encoder.check_windows(imu, length=self.length, units=check_units)


class LlasaProcessor(ProcessorMixin):
    """One way in: windows and text -> the tensors that the model takes.

    Parameters
    ----------
    feature_extractor : ImuFeatureExtractor
    tokenizer : PreTrainedTokenizerBase
        Gets ``<imu>`` as an extra special token.
    tokens_per_window : int
        How many soft tokens stand for one window (:attr:`LlasaConfig.tokens_per_window`).

    Examples
    --------
    >>> inputs = processor(imu=window, text="What is the person doing?")  # doctest: +SKIP
    >>> processor.answers(model.generate(**inputs, max_new_tokens=12), inputs)  # doctest: +SKIP
    ['The person is walking.']
    """

    def __init__(self, feature_extractor=None, tokenizer=None, tokens_per_window=120, chat_template=None, **kwargs):
        if IMU_TOKEN not in tokenizer.get_vocab():
            tokenizer.add_special_tokens({"additional_special_tokens": [IMU_TOKEN]})
        tokenizer.padding_side = "left"  # generation continues at the right end
        self.tokens_per_window = tokens_per_window
        self.imu_token = IMU_TOKEN
        self.imu_token_id = tokenizer.convert_tokens_to_ids(IMU_TOKEN)
        super().__init__(feature_extractor, tokenizer, chat_template=chat_template or tokenizer.chat_template)

    def prompt(self, turns, windows=1):
        """Chat text of a conversation about windows, ready for the next answer.

        Parameters
        ----------
        turns : list of str
            Question, answer, question, ...; ends with a question.
        windows : int
            Placeholders put in front of the first question, if it holds none itself.
        """
        turns = list(turns)
        if IMU_TOKEN not in turns[0]:
            turns[0] = f"{IMU_TOKEN}\n" * windows + turns[0]
        messages = [{"role": "assistant" if n % 2 else "user", "content": content} for n, content in enumerate(turns)]
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=len(turns) % 2 == 1)

    def _expand(self, text):
        return text.replace(IMU_TOKEN, IMU_TOKEN * self.tokens_per_window)

    def __call__(self, imu=None, text=None, return_tensors="pt", check_units=True):
        """Windows and questions -> model inputs.

        Parameters
        ----------
        imu : see :meth:`ImuFeatureExtractor.__call__`, optional
            One window per question; without it, a chat about text alone.
        text : str or list of str
            A plain question is put into the chat format with ``<imu>`` in front; one question is asked of every window.
            A text that holds ``<imu>`` itself is taken as a finished prompt.
        check_units : bool
            See :meth:`ImuFeatureExtractor.__call__`.

        Returns
        -------
        BatchFeature
            ``input_ids``, ``attention_mask`` (B, L), padded on the left; ``imu_values``, ``imu_summary``.

        Raises
        ------
        ModelError
            If the number of ``<imu>`` is not the number of windows.
        """
        sensor = self.feature_extractor(imu, return_tensors, check_units) if imu is not None else {}
        windows = len(sensor["imu_values"]) if sensor else 0
        texts = [text] * max(windows, 1) if isinstance(text, str) and IMU_TOKEN not in text else text
        texts = [texts] if isinstance(texts, str) else list(texts)
        texts = [t if IMU_TOKEN in t else self.prompt([t], windows=1 if windows else 0) for t in texts]
        placeholders = sum(t.count(IMU_TOKEN) for t in texts)
        if placeholders != windows:
            raise ModelError(
                f"The text holds {placeholders} {IMU_TOKEN} for {windows} window(s). Put one {IMU_TOKEN} per window, "
                "or leave it out: it is then added for you."
            )
        tokens = self.tokenizer(
            [self._expand(t) for t in texts],
            return_tensors=return_tensors,
            padding=True,
            add_special_tokens=True,
        )
        tokens.pop("token_type_ids", None)
        return BatchFeature({**tokens, **sensor})

    def conversation(self, turns):
        """Token ids and labels of a finished conversation about one window.

        Parameters
        ----------
        turns : list of (question, answer)

        Returns
        -------
        dict
            ``input_ids`` and ``labels``, lists of equal length; labels are -100 except on answers and their end mark.
        """
        flat, ids, labels, done = [], [], [], ""
        for question, answer in turns:
            flat.append(question)
            asked = self.prompt(flat)
            flat.append(answer)
            answered = self.prompt(flat)
            # NOTE: tokenised apart, because at inference the prompt ends where the answer begins.
            before, reply = asked[len(done) :], answered[len(asked) :]
            tail = reply[len(reply.rstrip()) :]
            for piece, taught in ((before, False), (reply.rstrip(), True), (tail, False)):
                new = self.tokenizer(self._expand(piece), add_special_tokens=not ids).input_ids if piece else []
                ids += new
                labels += new if taught else [IGNORE] * len(new)
            done = answered
        return {"input_ids": ids, "labels": labels}

    def answers(self, generated, inputs):
        """Text of the newly generated tokens, one string per sample."""
        new = generated[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.tokenizer.batch_decode(new, skip_special_tokens=True)]

    @property
    def model_input_names(self):
        return ["input_ids", "attention_mask", *self.feature_extractor.model_input_names]


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


@dataclass
class LlasaOutput(ModelOutput):
    """Output of :class:`LlasaForConditionalGeneration`.

    ``loss`` () when labels are given; ``logits`` (B, L, V) when they are not; ``imu_hidden_states`` (M, tokens, H).
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    past_key_values: object | None = None
    hidden_states: tuple | None = None
    attentions: tuple | None = None
    imu_hidden_states: torch.FloatTensor | None = None


class LlasaPreTrainedModel(PreTrainedModel):
    """What all LLaSA models share."""

    config: LlasaConfig
    config_class = LlasaConfig
    base_model_prefix = "model"
    input_modalities = ("imu", "text")
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012 - the base class declares it so
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True


class LlasaModel(LlasaPreTrainedModel):
    """IMU encoder, projector, and language model without its head."""

    def __init__(self, config):
        super().__init__(config)
        self.encoder = AutoModel.from_config(config.encoder_config)
        self.projector = LlasaProjector(config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self):
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.language_model.set_input_embeddings(value)

    def get_imu_features(self, imu_values, imu_summary):
        """Soft tokens of M windows: (M, T, 6) and (M, 132), normalised -> (M, tokens_per_window, H)."""
        dtype = self.projector_dtype()
        states = None
        if self.config.steps_per_token:
            # The window as it comes: rounded to half precision it would hold no sway of somebody who stands.
            states = self.encoder(imu_values=imu_values).last_hidden_state.to(dtype)
        return self.projector(states, imu_summary.to(dtype))

    def projector_dtype(self):
        return next(self.projector.parameters()).dtype

    def forward(
        self,
        input_ids=None,
        imu_values=None,
        imu_summary=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        **kwargs,
    ):
        """Put the soft tokens in place of the ``<imu>`` embeddings and run the language model."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ModelError("Give exactly one of input_ids and inputs_embeds.")
        features = None
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        if imu_values is not None:
            features = self.get_imu_features(imu_values, imu_summary).to(inputs_embeds.dtype)
            mask = input_ids == self.config.imu_token_id  # (B, L)
            if int(mask.sum()) != features.shape[0] * features.shape[1]:
                raise ModelError(
                    f"The text has {int(mask.sum())} sensor tokens, the windows need "
                    f"{features.shape[0] * features.shape[1]}. Make both with the same processor."
                )
            inputs_embeds = inputs_embeds.masked_scatter(mask.unsqueeze(-1), features)
        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            **kwargs,
        )
        return outputs, features


class LlasaForConditionalGeneration(LlasaPreTrainedModel, GenerationMixin):
    """A language model that reads windows of motion at its ``<imu>`` tokens (arXiv 2406.14498)."""

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config):
        super().__init__(config)
        self.model = LlasaModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def from_parts(
        cls, imu_encoder, language_model, processor, steps_per_token=1, summary_tokens=0, standardise=False, seed=0
    ):
        """Join a pretrained encoder and a pretrained causal language model by a fresh projector.

        Parameters
        ----------
        imu_encoder : encoder.LimuBertModel
        language_model : transformers.PreTrainedModel
            A causal language model of the Llama family (or any whose base model is at ``.model``).
            Its embedding is enlarged by the ``<imu>`` token, in place.
        processor : LlasaProcessor
            Its ``tokens_per_window`` is set to what the projector makes.
        steps_per_token, summary_tokens : int
        standardise : bool
            See :class:`LlasaConfig`. With ``standardise``, call :meth:`LlasaProjector.fit` before training.
        seed : int
            Of the projector's first weights.

        Returns
        -------
        LlasaForConditionalGeneration
        """
        if len(processor.tokenizer) > language_model.get_input_embeddings().num_embeddings:
            with torch.random.fork_rng():
                # Nobody reads the placeholder's row, but where embeddings are tied it is one of the words to predict.
                torch.manual_seed(seed)
                language_model.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)
        config = LlasaConfig(
            encoder_config=imu_encoder.config,
            text_config=language_model.config,
            imu_token_id=processor.imu_token_id,
            steps_per_token=steps_per_token,
            summary_tokens=summary_tokens,
            standardise=standardise,
        )
        processor.tokens_per_window = config.tokens_per_window
        with torch.random.fork_rng(), torch.device("meta"):
            model = cls(config)
        model.model.encoder = imu_encoder
        model.model.language_model = language_model.get_decoder()
        model.lm_head = language_model.get_output_embeddings()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model.model.projector = LlasaProjector(config)
            model.model.projector.apply(model._init_weights)
        model.model.projector.to(language_model.device, torch.float32)
        model.generation_config = language_model.generation_config
        model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
        return model

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, value):
        self.lm_head = value

    def get_imu_features(self, imu_values, imu_summary):
        """See :meth:`LlasaModel.get_imu_features`."""
        return self.model.get_imu_features(imu_values, imu_summary)

    def forward(
        self,
        input_ids=None,
        imu_values=None,
        imu_summary=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        labels=None,
        logits_to_keep=0,
        num_items_in_batch=None,
        return_dict=True,
        **kwargs,
    ):
        """Answer, or learn to.

        Parameters
        ----------
        input_ids : (B, L) long
        imu_values : (M, T, 6) float, imu_summary : (M, 132) float
            Normalised windows in the order of their placeholders, from the processor.
        labels : (B, L) long, optional
            -100 where nothing is to be learned. Then ``loss`` is returned and no ``logits``: over a vocabulary of
            49,152 they would cost more memory than the rest of the step.
        logits_to_keep : int
            Logits of the last so many positions only; 0 for all.

        Returns
        -------
        LlasaOutput

        Raises
        ------
        ModelError
            If placeholders and windows do not match, or every label is masked.
        """
        outputs, features = self.model(
            input_ids=input_ids,
            imu_values=imu_values,
            imu_summary=imu_summary,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        loss = logits = None
        if labels is None:
            logits = self.lm_head(hidden[:, -logits_to_keep:] if isinstance(logits_to_keep, int) else hidden)
        else:
            target = labels[:, 1:]
            taught = target != IGNORE  # position t predicts token t + 1
            if not taught.any():
                raise ModelError("Every label of the batch is masked: the loss would be 0 and teach nothing.")
            scores = self.lm_head(hidden[:, :-1][taught]).float()
            loss = nn.functional.cross_entropy(scores, target[taught], reduction="sum")
            loss = loss / (num_items_in_batch if num_items_in_batch is not None else taught.sum())
        output = LlasaOutput(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            imu_hidden_states=features,
        )
        return output if return_dict else output.to_tuple()

    def prepare_inputs_for_generation(
        self, input_ids, imu_values=None, imu_summary=None, inputs_embeds=None, is_first_iteration=False, **kwargs
    ):
        """The windows are read once, in the first step; later steps have them in the cache."""
        inputs = super().prepare_inputs_for_generation(
            input_ids, inputs_embeds=inputs_embeds, is_first_iteration=is_first_iteration, **kwargs
        )
        if is_first_iteration or not kwargs.get("use_cache", True):
            inputs["imu_values"], inputs["imu_summary"] = imu_values, imu_summary
        return inputs


AutoConfig.register(LlasaConfig.model_type, LlasaConfig)
AutoFeatureExtractor.register(LlasaConfig, ImuFeatureExtractor)
AutoProcessor.register(LlasaConfig, LlasaProcessor)
AutoModel.register(LlasaConfig, LlasaModel)
# "Image" is the Auto class's name for any modality beside text that a model is asked about.
AutoModelForImageTextToText.register(LlasaConfig, LlasaForConditionalGeneration)


# --- training data ------------------------------------------------------------------------------------------------


class Conversations(torch.utils.data.Dataset):
    """Conversations about windows, ready for :func:`training.fit`.

    Parameters
    ----------
    processor : LlasaProcessor
    imu : (N, T, 6) array, SI units
    samples : list of (int, list of (question, answer))
        Row of the window, and what is said about it.
    batch_size, seed : int
        For the order: batches of similar length, see :func:`training.order_by_length`.
    wanted : (N,) long tensor, optional
        The activity of each window, for :func:`word_loss`.
    """

    def __init__(self, processor, imu, samples, batch_size, seed, wanted=None):
        self.wanted = wanted
        self.sensor = processor.feature_extractor(imu)
        ready = [(row, processor.conversation(turns)) for row, turns in samples]
        order = training.order_by_length([len(tokens["input_ids"]) for _, tokens in ready], batch_size, seed)
        self.samples = [ready[n] for n in order]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, n):
        row, tokens = self.samples[n]
        sensor = {name: self.sensor[name][row] for name in ("imu_values", "imu_summary")}
        return {**tokens, **sensor, **({} if self.wanted is None else {"wanted": self.wanted[row]})}


def collate(batch, pad_token_id):
    """Pad conversations on the right and stack their windows."""
    longest = max(len(sample["input_ids"]) for sample in batch)

    def padded(values, fill):
        return values + [fill] * (longest - len(values))

    lengths = [len(sample["input_ids"]) for sample in batch]
    return {
        "input_ids": torch.tensor([padded(sample["input_ids"], pad_token_id) for sample in batch]),
        "labels": torch.tensor([padded(sample["labels"], IGNORE) for sample in batch]),
        "attention_mask": torch.tensor([[1] * n + [0] * (longest - n) for n in lengths]),
        **{
            name: torch.stack([sample[name] for sample in batch])
            for name in ("imu_values", "imu_summary", "wanted")
            if name in batch[0]
        },
    }


def alignment_samples(corpus, epochs, caption_share, seed):
    """What the projector learns from: each window named once per epoch, and described in a share of cases.

    Parameters
    ----------
    corpus : datasets.Dataset
        Windows with ``caption`` and ``questions`` (chapter 3).
    epochs : float
        Passes over the windows; the last may be a part.
    caption_share : float
        Share of samples that ask for the caption instead of the activity.

    Returns
    -------
    list of (int, list of (question, answer))
    """
    rng = np.random.default_rng(seed)
    captions, questions = corpus["caption"], corpus["questions"]
    samples = []
    for row in training.passes(len(corpus), epochs, rng):
        if rng.random() < caption_share:
            samples.append((row, [(CAPTION_PROMPT, captions[row])]))
        else:
            pair = next(pair for pair in questions[row] if pair["kind"] == "recognition")
            samples.append((row, [(pair["question"], pair["answer"])]))
    return samples


def build(imu_encoder, train_imu, language_model, steps_per_token, summary_tokens, standardise=False, seed=0):
    """Fresh model and processor for a profile's language model; the statistics are fitted on training windows.

    Parameters
    ----------
    imu_encoder : encoder.LimuBertModel
    train_imu : (N, T, 6) array, SI units
    language_model : profiles.LanguageModel

    Returns
    -------
    (LlasaForConditionalGeneration, LlasaProcessor)
    """
    text_model, tokenizer = language_models.load(
        language_model.name, chat=language_model.chat, quantize=language_model.quantize
    )
    processor = LlasaProcessor(ImuFeatureExtractor(length=train_imu.shape[1]).fit(train_imu), tokenizer)
    model = LlasaForConditionalGeneration.from_parts(
        imu_encoder, text_model, processor, steps_per_token, summary_tokens, standardise, seed
    )
    if standardise:
        # A few hundred windows fix two averages per state well enough.
        some = train_imu[:: max(1, len(train_imu) // 512)]
        states = torch.from_numpy(encoder.embed(imu_encoder, some))
        model.model.projector.fit(states, text_model.get_input_embeddings().weight)
    return model, processor


def word_targets(model, processor, names):
    """Where the words of each name lie among the word embeddings, seen from their common centre.

    Parameters
    ----------
    names : list of str

    Returns
    -------
    (len(names), H) tensor, unit length
    """
    embeddings = model.get_input_embeddings().weight.detach().float()
    ids = [processor.tokenizer(f" {name}", add_special_tokens=False).input_ids for name in names]
    words = torch.stack([embeddings[tokens].mean(0) for tokens in ids])
    return nn.functional.normalize(words - words.mean(0), dim=-1)


def nearest_words(model, imu_values, imu_summary, targets):
    """Cosine between a window's mean soft token and each of :func:`word_targets`: (M, K)."""
    tokens = model.get_imu_features(imu_values, imu_summary)
    return nn.functional.normalize(tokens.mean(1).float(), dim=-1) @ targets.to(tokens.device).T


def word_loss(tokens, targets, wanted, temperature=0.1):
    """Contrastive loss: a window's soft tokens should lie nearer to its activity's words than to the others'.

    Half of it asks this of every single token, half of their mean. Of the mean alone, a language model can read little:
    its layers see tokens one by one.

    Parameters
    ----------
    tokens : (M, S, H) tensor
        Soft tokens of M windows.
    targets : (K, H) tensor
        Of :func:`word_targets`.
    wanted : (M,) long tensor
        Which of the K activities each window is.
    temperature : float
        Of the softmax over activities.

    Returns
    -------
    () tensor
    """
    targets = targets.to(tokens.device)
    each = nn.functional.normalize(tokens.float(), dim=-1) @ targets.T  # (M, S, K)
    mean = nn.functional.normalize(tokens.float().mean(1), dim=-1) @ targets.T  # (M, K)
    single = nn.functional.cross_entropy(each.flatten(0, 1) / temperature, wanted.repeat_interleave(each.shape[1]))
    return (single + nn.functional.cross_entropy(mean / temperature, wanted)) / 2


class _WordsInSight(nn.Module):
    """The model in training, its own loss and the words' loss added up.

    Without it, alignment bends the projector to the training people within a few steps, and forgets what the warm-up
    found for everybody.
    """

    def __init__(self, llasa, targets, weight):
        super().__init__()
        self.llasa, self.weight = llasa, weight
        self.register_buffer("targets", targets, persistent=False)

    def forward(self, wanted=None, **inputs):
        output = self.llasa(**inputs)
        if wanted is not None and output.loss is not None:
            output.loss = output.loss + self.weight * word_loss(output.imu_hidden_states, self.targets, wanted)
        return output


def _targets(model, processor, corpus):
    """Word directions of the activities in a corpus, and which of them each window is."""
    names = sorted(set(corpus["activity"]))
    return word_targets(model, processor, names), torch.tensor([names.index(name) for name in corpus["activity"]])


def warm_up(model, processor, corpus, settings, seed):
    """Point each window's soft tokens at the words of its activity, before the language model is ever run.

    A contrastive loss between windows and word embeddings needs neither a forward nor a backward pass through the
    language model, so it costs seconds where alignment costs minutes. Alignment then starts from tokens that already
    mean something, and teaches the language model's own way of reading them.

    Parameters
    ----------
    model : LlasaForConditionalGeneration
        Its projector is trained in place.
    corpus : datasets.Dataset
        Training windows with ``activity``.
    settings : profiles.Align
        ``warm_up_epochs`` passes; 0 does nothing, as published.

    Returns
    -------
    list of float
        Mean :func:`word_loss` of every pass.
    """
    if not settings.warm_up_epochs:
        return []
    targets, wanted = _targets(model, processor, corpus)
    sensor = processor.feature_extractor(signals.to_array(corpus))
    training.freeze(model)
    projector = model.model.projector.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        projector.parameters(), lr=settings.warm_up_learning_rate, weight_decay=settings.weight_decay
    )
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for _ in tqdm(range(settings.warm_up_epochs), desc="warm-up", unit="pass", disable=None):
        total = 0.0
        for rows in torch.randperm(len(wanted), generator=generator).split(64):
            inputs = [sensor[name][rows].to(model.device) for name in ("imu_values", "imu_summary")]
            loss = word_loss(model.get_imu_features(*inputs), targets, wanted[rows].to(model.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / len(wanted))
    return losses


def align(model, processor, corpus, settings, folder, seed, epochs=None, caption_share=None):
    """Train the projector in front of the frozen encoder and the frozen language model (chapter 4).

    Parameters
    ----------
    model : LlasaForConditionalGeneration, trained in place
    corpus : datasets.Dataset
        Training windows with captions and questions.
    settings : profiles.Align
    folder : path
        For checkpoints while the run lasts.
    epochs, caption_share : float, optional
        Instead of the profile's.

    Returns
    -------
    list of dict
        The loss curve, see :func:`training.fit`.
    """
    epochs = settings.epochs if epochs is None else epochs
    share = settings.caption_share if caption_share is None else caption_share
    # An interrupted run does this again: it takes seconds, and a checkpoint then replaces what it made.
    warm_up(model, processor, corpus, settings, seed)
    samples = alignment_samples(corpus, epochs, share, seed)
    training.freeze(model)
    model.model.projector.requires_grad_(True)
    targets, wanted = _targets(model, processor, corpus)
    weight = settings.word_weight / settings.accumulate
    return training.fit(
        _WordsInSight(model, targets, weight) if weight else model,
        Conversations(
            processor, signals.to_array(corpus), samples, settings.batch_size, seed, wanted if weight else None
        ),
        folder,
        settings,
        seed,
        collate=lambda batch: collate(batch, processor.tokenizer.pad_token_id),
        repeat=False,  # the samples hold every pass, each with its own choice of question
        shuffle=False,
        description="alignment",
    )


def save(model, processor, folder):
    """Write a model (safetensors; of a LoRA model the adapter) and its processor to a folder, whole or not at all."""
    with files.atomic(folder) as temporary:
        model.save_pretrained(temporary)
        processor.save_pretrained(temporary)


def load(folder, dtype=None):
    """Read what :func:`save` wrote, or a LoRA adapter on top of it.

    Parameters
    ----------
    folder : path or hub id
        With ``adapter_config.json`` inside, the base model is the one named there, or else the neighbour ``align``.

    Returns
    -------
    (LlasaForConditionalGeneration, LlasaProcessor)
        In eval mode.
    """
    base = folder
    adapter = Path(folder) / "adapter_config.json"
    if adapter.exists():
        base = Path(folder).resolve().parent / "align"
    dtype = dtype or language_models.pick_dtype()
    try:
        if Path(base).is_dir() and not (Path(base) / "config.json").exists():
            # Transformers would go on with its default configuration: seven billion random weights.
            raise OSError("config.json is missing")
        processor = LlasaProcessor.from_pretrained(folder)
        # NOTE: the configuration on its own first: without the file, from_pretrained builds a random 7B model instead.
        config = LlasaConfig.from_pretrained(base)
        model, found = LlasaForConditionalGeneration.from_pretrained(
            base, config=config, dtype=dtype, output_loading_info=True
        )
        if found["missing_keys"]:
            raise ValueError(f"no weights for {sorted(found['missing_keys'])[0]}")
        if adapter.exists():
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, folder).merge_and_unload()
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{os.fspath(folder)} does not hold a complete LLaSA model ({str(error).splitlines()[0]}). "
            "Make it again with: llasa tune"
        ) from error
    return model.eval().to(language_models.pick_device()), processor
