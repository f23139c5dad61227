"""The network: IMU encoder, projector and language model, composed and registered as Transformers does it."""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForImageTextToText,
    AutoProcessor,
    DynamicCache,
    GenerationMixin,
    PreTrainedModel,
    modeling_utils,
)
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils import can_return_tuple

from llasa_lib.errors import ModelError
from llasa_lib.language_models import keep_packing
from llasa_lib.model import bases
from llasa_lib.model.configuration import LlasaConfig
from llasa_lib.model.fitting import check_family, check_fit
from llasa_lib.model.processing import IGNORE, ImuFeatureExtractor, LlasaProcessor
from llasa_lib.model.projectors import LlasaProjector, Resampler

# Inputs with one row per window; every other input of the model has one row per prompt.
WINDOW_INPUTS = ("imu_values", "imu_summary", "imu_states")
NOT_PACKED = ["model.encoder", "model.projector", "lm_head"]  # to 4 or 8 bits: they are small, and others rely on them


@dataclass
class LlasaModelOutput(BaseModelOutputWithPast):
    """Output of :class:`LlasaModel`, with ``imu_hidden_states`` (M, tokens, H), the soft tokens of the windows."""

    imu_hidden_states: torch.FloatTensor | None = None


@dataclass
class LlasaOutput(CausalLMOutputWithPast):
    """Output of :class:`LlasaForConditionalGeneration`.

    ``loss`` () when labels are given; ``logits`` (B, L, V) when they are not, or where they are asked for beside them;
    ``imu_hidden_states`` (M, tokens, H).
    """

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

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, Resampler):
            # As large as standardised states: smaller ones would start with all queries alike and no sense of order.
            init.normal_(module.queries)
            init.normal_(module.positions)


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

    def get_imu_features(self, imu_values=None, imu_summary=None, imu_states=None):
        """Soft tokens of M windows: (M, T, 6) and (M, 132), normalised -> (M, tokens_per_window, H).

        ``imu_states`` (M, S, E), what the encoder made of ``imu_values``, may stand in their place: an encoder that is
        frozen need not run again at every step.
        """
        # Packed to int8 by torch, it has no parameter left, and computes in float32.
        dtype = next((value.dtype for value in self.projector.parameters()), torch.float32)
        if imu_summary is None and self.config.summary_tokens:
            raise ModelError("imu_summary is missing: give the model all that the processor returns.")
        summary = None if imu_summary is None else imu_summary.to(dtype)
        if not self.config.steps_per_token:
            return self.projector(None, summary)
        if imu_states is None:
            # The window as it comes: rounded to half precision it would hold no sway of somebody who stands.
            imu_states = self.encoder(imu_values=imu_values).last_hidden_state
        return self.projector(imu_states.to(dtype), summary)

    def thaw_encoder(self):
        """Let the encoder learn along, at full precision.

        Raises
        ------
        ModelError
            If no token is made of what it says.
        """
        if not self.config.steps_per_token:
            raise ModelError(
                "encoder_learning_rate is set, but steps_per_token is 0: no token is made of what the encoder says, so "
                "it cannot learn. Set one of them differently."
            )
        freeze_mask_token(self.encoder.to(torch.float32).requires_grad_(True))

    @can_return_tuple
    def forward(
        self,
        input_ids=None,
        imu_values=None,
        imu_summary=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        imu_states=None,
        **kwargs,
    ):
        """Put the soft tokens in place of the ``<imu>`` embeddings and run the language model."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ModelError("Give exactly one of input_ids and inputs_embeds.")
        features, past_key_values = None, kwargs.pop("cache", past_key_values)
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        context = self.config.context
        # Of a cache on its way through a compiled graph nobody can ask how full it is; generate has asked before.
        length = inputs_embeds.shape[1]
        length += past_key_values.get_seq_length() if isinstance(past_key_values, DynamicCache) else 0
        if context and length > context:
            raise ModelError(
                f"The text is {length} tokens long, {self.config.tokens_per_window} per window; "
                f"the language model's context holds {context}. Shorten the text or ask about fewer windows."
            )
        if imu_values is not None or imu_states is not None:
            if input_ids is None:
                raise ModelError(
                    "Windows need input_ids, which say where their tokens stand. Beside inputs_embeds, put what "
                    "get_imu_features makes of them in its place yourself."
                )
            features = self.get_imu_features(imu_values, imu_summary, imu_states).to(inputs_embeds.dtype)
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
        return LlasaModelOutput(
            last_hidden_state=outputs.last_hidden_state,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            imu_hidden_states=features,
        )


def freeze_mask_token(encoder):
    """What stands for hidden steps in pretraining gets no gradient later, and DDP waits for whatever could get one."""
    for name, parameter in encoder.named_parameters():
        if name.split(".")[-1] == "mask_token":
            parameter.requires_grad_(False)


def _kept(hidden, kept):
    """Hidden states (B, L, H) of the last ``kept`` positions, 0 for all, or of the positions in a tensor."""
    if hasattr(modeling_utils, "slice_logits_to_keep"):  # from Transformers 5.21 on
        return modeling_utils.slice_logits_to_keep(hidden, kept)
    return hidden[:, -kept:] if isinstance(kept, int) else hidden[:, kept]


def _carry_quantization(language_model, model):
    """Say of the whole model how its language model was packed, and that encoder and projector were not.

    Transformers asks the outermost configuration what to pack before it reads weights, and peft the outermost model
    which kind of layer its adapter stands beside.
    """
    packing = copy.deepcopy(language_model.hf_quantizer.quantization_config)
    packing.llm_int8_skip_modules = NOT_PACKED
    model.config.quantization_config = packing
    model.is_loaded_in_4bit = getattr(language_model, "is_loaded_in_4bit", False)


def _holds_weights(folder):
    """Whether a whole model lies in a folder, and not an adapter alone."""
    return any(Path(folder).glob("model*.safetensors"))


class LlasaForConditionalGeneration(LlasaPreTrainedModel, GenerationMixin):
    """A language model that reads windows of motion at its ``<imu>`` tokens (arXiv 2406.14498)."""

    def __init__(self, config):
        super().__init__(config)
        self.model = LlasaModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        # Llama calls its word embedding embed_tokens, GPT-NeoX embed_in, GPT-2 wte.
        words = next(name for name, part in self.named_modules() if part is self.get_input_embeddings())
        self._tied_weights_keys = {"lm_head.weight": f"{words}.weight"}
        self.post_init()

    @classmethod
    def from_pretrained(cls, name=None, *args, quantization_config=None, **kwargs):
        """As Transformers reads it; what ``quantization_config`` packs is the language model, if it says no other.

        Of an adapter's folder, the model that it belongs to (:func:`bases.find`), with the adapter beside its layers.
        """
        if name is not None and (Path(name) / "adapter_config.json").is_file() and not _holds_weights(name):
            kwargs["adapter_kwargs"] = {**(kwargs.get("adapter_kwargs") or {}), "_adapter_model_path": str(name)}
            name = bases.find(name)
        if quantization_config is not None:
            quantization_config = copy.deepcopy(quantization_config)
            for skipped in ("llm_int8_skip_modules", "modules_to_not_convert"):
                if isinstance(quantization_config, dict) and skipped.startswith("llm"):
                    quantization_config.setdefault(skipped, NOT_PACKED)
                elif getattr(quantization_config, skipped, NOT_PACKED) is None:
                    setattr(quantization_config, skipped, NOT_PACKED)
            kwargs["quantization_config"] = quantization_config
        loaded = super().from_pretrained(name, *args, **kwargs)
        keep_packing(loaded[0] if isinstance(loaded, tuple) else loaded)
        return loaded

    @classmethod
    def from_parts(
        cls,
        imu_encoder,
        language_model,
        processor,
        steps_per_token=1,
        summary_tokens=0,
        standardise=False,
        seed=0,
        projector="mlp2x_gelu",
    ):
        """Join a pretrained encoder and a pretrained causal language model by a fresh projector.

        Parameters
        ----------
        imu_encoder : encoder.LimuBertModel
        language_model : transformers.PreTrainedModel
            Any causal language model that reads ``inputs_embeds`` and whose logits are one matrix times the last
            hidden state, scaled or capped as its configuration says (Llama, SmolLM, Qwen, Mistral, Gemma, Granite,
            Phi-3, GPT-NeoX, ...). Its embedding is enlarged by the ``<imu>`` token, in place.
        processor : LlasaProcessor
            Its ``tokens_per_window`` is set to what the projector makes.
        steps_per_token, summary_tokens : int
        standardise : bool
            See :class:`LlasaConfig`. With ``standardise``, call :meth:`LlasaProjector.fit` before training.
        seed : int
            Of the projector's first weights.
        projector : str
            Kind of projector, see :class:`LlasaConfig`.

        Returns
        -------
        LlasaForConditionalGeneration

        Raises
        ------
        ModelError
            If the language model would not give its own logits here, or could not be read back from a folder.
        """
        check_family(language_model)
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
            projector=projector,
        )
        processor.tokens_per_window = config.tokens_per_window
        with torch.random.fork_rng(), torch.device("meta"):
            model = cls(config)
        empty = {name: value.shape for name, value in model.state_dict().items()}
        there = language_model.device  # in four bits it is on the GPU already
        model.model.encoder = imu_encoder if there.type == "meta" else imu_encoder.to(there)
        model.model.language_model = language_model.base_model
        model.lm_head = language_model.get_output_embeddings()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model.model.projector = LlasaProjector(config)
            model.model.projector.apply(model._init_weights)
        model.model.projector.to(language_model.device, torch.float32)
        if getattr(language_model, "is_quantized", False):
            _carry_quantization(language_model, model)
        check_fit(language_model, model, empty)
        model.generation_config = language_model.generation_config
        model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
        return model

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, value):
        self.lm_head = value

    def get_imu_features(self, imu_values=None, imu_summary=None, imu_states=None):
        """See :meth:`LlasaModel.get_imu_features`."""
        return self.model.get_imu_features(imu_values, imu_summary, imu_states)

    def score(self, hidden):
        """Logits of hidden states (..., H) -> (..., V): the output layer, and what some families do behind it."""
        text = self.config.text_config
        logits = self.lm_head(hidden)
        if getattr(text, "logit_scale", None) is not None:  # Cohere
            logits = logits * text.logit_scale
        if getattr(text, "logits_scaling", None) is not None:  # Granite, MiniCPM3
            logits = logits / text.logits_scaling
        if getattr(text, "final_logit_softcapping", None) is not None:  # Gemma 2
            logits = torch.tanh(logits / text.final_logit_softcapping) * text.final_logit_softcapping
        return logits

    @can_return_tuple
    def forward(
        self,
        input_ids=None,
        imu_values=None,
        imu_summary=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        imu_states=None,
        labels=None,
        logits_to_keep=None,
        num_items_in_batch=None,
        **kwargs,
    ):
        """Answer, or learn to.

        Parameters
        ----------
        input_ids : (B, L) long
        imu_values : (M, T, 6) float, imu_summary : (M, 132) float
            Normalised windows in the order of their placeholders, from the processor.
        imu_states : (M, S, E) float, optional
            In place of ``imu_values``: see :meth:`get_imu_features`.
        labels : (B, L) long, optional
            -100 where nothing is to be learned. Then ``loss`` is returned, and in training ``logits`` only if
            ``logits_to_keep`` is given: over a vocabulary of 49,152 they would cost more memory than the rest of the
            step. Without gradients, as a Trainer evaluates, they are returned too.
        logits_to_keep : int or tensor, optional
            Logits of the last so many positions only, 0 for all; or the positions themselves.
            Default: all without labels or without gradients, else none.

        Returns
        -------
        LlasaOutput

        Raises
        ------
        ModelError
            If placeholders and windows do not match, or every label is masked.
        """
        outputs = self.model(
            input_ids=input_ids,
            imu_values=imu_values,
            imu_summary=imu_summary,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            imu_states=imu_states,
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        loss = logits = None
        if labels is None or logits_to_keep is not None or not torch.is_grad_enabled():
            logits = self.score(_kept(hidden, 0 if logits_to_keep is None else logits_to_keep))
        if labels is not None:
            target = labels[:, 1:]
            taught = target != IGNORE  # position t predicts token t + 1
            if not taught.any():
                raise ModelError("Every label of the batch is masked: the loss would be 0 and teach nothing.")
            scores = self.score(hidden[:, :-1][taught]).float()
            loss = nn.functional.cross_entropy(scores, target[taught], reduction="sum")
            loss = loss / (num_items_in_batch if num_items_in_batch is not None else taught.sum())
        return LlasaOutput(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            imu_hidden_states=outputs.imu_hidden_states,
        )

    def prepare_inputs_for_generation(
        self,
        input_ids,
        imu_values=None,
        imu_summary=None,
        imu_states=None,
        inputs_embeds=None,
        is_first_iteration=False,
        cache=None,
        **kwargs,
    ):
        """The windows are read once, in the first step; later steps have them in the cache."""
        if cache is not None:  # what Transformers calls past_key_values from 5.24 on
            kwargs["cache"] = cache
        inputs = super().prepare_inputs_for_generation(
            input_ids, inputs_embeds=inputs_embeds, is_first_iteration=is_first_iteration, **kwargs
        )
        if is_first_iteration or not kwargs.get("use_cache", True):
            inputs.update(imu_values=imu_values, imu_summary=imu_summary, imu_states=imu_states)
        return inputs

    def _expand_inputs_for_generation(self, expand_size=1, is_encoder_decoder=False, input_ids=None, **kwargs):
        """Beams and several answers: a prompt is repeated with all of its windows, in their order."""
        windows = {name: kwargs.pop(name) for name in WINDOW_INPUTS if kwargs.get(name) is not None}
        if windows and expand_size > 1 and input_ids is not None:
            tokens = (input_ids == self.config.imu_token_id).sum(1)  # (B,)
            counts = (tokens // self.config.tokens_per_window).tolist()
            rows = torch.arange(sum(counts), device=input_ids.device).split(counts)
            order = torch.cat([row for group in rows for row in [group] * expand_size])
            windows = {name: value[order.to(value.device)] for name, value in windows.items()}
        input_ids, kwargs = super()._expand_inputs_for_generation(
            expand_size=expand_size, is_encoder_decoder=is_encoder_decoder, input_ids=input_ids, **kwargs
        )
        return input_ids, {**kwargs, **windows}

    def _prepare_generated_length(self, generation_config, has_default_max_length, inputs_tensor, **kwargs):
        """Refuse to run past the context, where a language model writes on as if nothing had happened."""
        if generation_config.prefill_chunk_size is not None:
            raise ModelError("A prompt with windows is read in one piece: leave out prefill_chunk_size.")
        if generation_config.prompt_lookup_num_tokens:  # what is copied out of the prompt may be all but a window
            generation_config.suppress_tokens = [*(generation_config.suppress_tokens or []), self.config.imu_token_id]
        config = super()._prepare_generated_length(
            generation_config=generation_config,
            has_default_max_length=has_default_max_length,
            inputs_tensor=inputs_tensor,
            **kwargs,
        )
        context, prompt = self.config.context, inputs_tensor.shape[1]
        given = kwargs["input_ids_length"]  # 0 where the prompt comes as vectors: max_length then counts answers only
        asked = config.max_length - given
        if not context or prompt + asked <= context:
            return config
        if has_default_max_length and config.max_new_tokens is None and prompt < context:
            config.max_length = given + context - prompt  # nobody asked for the default's number of tokens
            return config
        raise ModelError(
            f"The prompt is {prompt} tokens long and {asked} more are asked for; the language model's context holds "
            f"{context}. Use max_new_tokens={max(context - prompt, 0)} or less, a shorter text or fewer windows."
        )


AutoConfig.register(LlasaConfig.model_type, LlasaConfig)
AutoFeatureExtractor.register(LlasaConfig, ImuFeatureExtractor)
AutoProcessor.register(LlasaConfig, LlasaProcessor)
AutoModel.register(LlasaConfig, LlasaModel)
# "Image" is the Auto class's name for any modality beside text that a model is asked about.
AutoModelForImageTextToText.register(LlasaConfig, LlasaForConditionalGeneration)
