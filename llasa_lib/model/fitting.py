"""Whether a language model can read soft tokens: asked when the parts are joined, not found in odd answers later."""

import torch

from llasa_lib.errors import ModelError, first_line

ADVICE = "Choose a decoder such as SmolLM2, Llama, Qwen, Mistral or Gemma."


def check_family(language_model):
    """Refuse what is no decoder with one embedding and one output layer, by name.

    Parameters
    ----------
    language_model : transformers.PreTrainedModel

    Raises
    ------
    ModelError
    """
    family, config = type(language_model).__name__, language_model.config
    reason = None
    if config.is_encoder_decoder:
        reason = "is an encoder with a decoder, and its prompt and its answer do not share one sequence"
    elif config.get_text_config() is not config:
        reason = "reads more than text; give the language model inside it alone"
    elif language_model.get_output_embeddings() is None or language_model.base_model is language_model:
        reason = "has no output layer on top of its network; load it with AutoModelForCausalLM"
    if reason:
        raise ModelError(f"{family} {reason}. {ADVICE}")


def check_fit(language_model, model, shapes):
    """Refuse a language model that would give other logits inside ours, or come back changed from a folder.

    Parameters
    ----------
    language_model : transformers.PreTrainedModel
        The causal language model by itself.
    model : LlasaForConditionalGeneration
        Holds its network and its output layer.
    shapes : dict of str to torch.Size
        Parameters and buffers of the same model built from its configuration alone, as ``from_pretrained`` does it.

    Raises
    ------
    ModelError
    """
    family = type(language_model).__name__
    quantized = getattr(language_model, "is_quantized", False)
    if not quantized:  # packed weights have shapes of their own
        given = {name: value.shape for name, value in model.state_dict().items() if _is_text(name)}
        built = {name: shape for name, shape in shapes.items() if _is_text(name)}
        odd = sorted(name for name in given.keys() | built.keys() if given.get(name) != built.get(name))
        if odd:
            raise ModelError(f"{family} could not be read back from a folder: {odd[0]} has no place there. {ADVICE}")
    if language_model.device.type == "meta":
        return  # sizes without weights give no logits
    try:
        own, ours, cached = _logits(language_model, model)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        what, advice = family, ADVICE
        if quantized:
            what, advice = f"{family}, quantized,", f"Try it with quantize: false. {ADVICE}"
        raise ModelError(f"{what} cannot read sensor tokens ({first_line(error)}). {advice}") from error
    size, step = own.abs().max(), torch.finfo(own.dtype).eps
    # The same operations in the same order; with a cache, sums are taken in another order.
    same = (own - ours).abs().max() <= 16 * step * size and (own[:, -1:] - cached).abs().max() <= step**0.5 * size
    if not same:
        raise ModelError(
            f"{family} does more with its words than its network and its output layer: read through sensor tokens, it "
            f"gives other logits. {ADVICE}"
        )


def _is_text(name):
    return name.startswith(("model.language_model.", "lm_head."))


@torch.no_grad()
def _logits(language_model, model):
    """Logits (1, L, V) of a language model by itself and inside ours, and of its last token (1, 1, V) from a cache."""
    words = language_model.get_input_embeddings().num_embeddings
    # Nine words all over the vocabulary, its last ones left out: they may be added ones.
    ids = torch.arange(1, 10, device=language_model.device)[None] * (words // 11)
    modes = [(part, part.training) for network in (language_model, model) for part in network.modules()]
    for part, _ in modes:
        part.training = False  # nothing may drop out, and every part gets its own mode back
    try:
        own, ours = (network(input_ids=ids, use_cache=False).logits for network in (language_model, model))
        before = model(input_ids=ids[:, :-1], use_cache=True)
        last = model(input_ids=ids[:, -1:], past_key_values=before.past_key_values, use_cache=True)
    finally:
        for part, training in modes:
            part.training = training
    return own, ours, last.logits
