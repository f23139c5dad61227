"""``transformers.pipeline("imu-text-to-text", model=folder)``: questions about windows in one call."""

from numbers import Real
from pathlib import Path

import datasets
import numpy as np
import torch
from transformers import AutoModelForImageTextToText, GenerationConfig, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from llasa_lib.errors import ModelError
from llasa_lib.model.modeling import WINDOW_INPUTS

TASK = "imu-text-to-text"


def _is_window(imu):
    """Whether this is one window: a file, a row, or T x 6 numbers."""
    if isinstance(imu, (list, tuple)):  # of rows, not a group of windows
        return bool(imu) and all(map(_is_step, imu))
    return isinstance(imu, (str, Path, dict)) or np.ndim(imu) == 2


def _is_step(row):
    """Whether this is one time step: six numbers."""
    numbers = all(isinstance(value, Real) for value in row) if isinstance(row, (list, tuple)) else np.ndim(row) == 1
    return numbers and len(row) == 6


def _as_list(imu):
    """(whether ``imu`` is one sample, its samples as a list)."""
    if imu is None or isinstance(imu, dict):
        return True, [imu]
    if isinstance(imu, datasets.Dataset):
        return False, list(imu)
    if isinstance(imu, (list, tuple)) and not all(map(_is_step, imu)):
        return False, list(imu)
    return (True, [imu]) if _is_window(imu) else (False, list(imu))


class ImuTextToTextPipeline(Pipeline):
    """Questions about windows of motion -> answers.

    Unless the model's own generation configuration says otherwise, an answer has at most 64 tokens.

    Parameters
    ----------
    model, processor : as for any :class:`transformers.Pipeline`
        ``transformers.pipeline`` loads both from one folder or hub id, also of a LoRA adapter beside its base. (Of an
        adapter that was saved without ``config.json``: load with :func:`llasa_lib.model.load`, and pass in both.)

    Examples
    --------
    >>> import transformers, llasa_lib.model  # doctest: +SKIP
    >>> ask = transformers.pipeline("imu-text-to-text", model="artifacts/cpu/align")  # doctest: +SKIP
    >>> ask("walk.csv", "What is the person doing?")  # doctest: +SKIP
    [{'input_text': 'What is the person doing?', 'generated_text': 'The person is walking.'}]
    >>> ask(windows, "What is the person doing?", batch_size=8)  # a list per window  # doctest: +SKIP
    >>> ask({"imu": [first, second], "text": "Which one moves more?"}, num_beams=3)  # doctest: +SKIP
    """

    _load_processor = True
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False
    _pipeline_calls_generate = True
    _default_generation_config = GenerationConfig(max_new_tokens=64)

    def __call__(self, imu=None, text=None, **options):
        """Ask.

        Parameters
        ----------
        imu : (T, 6) array, path to a recording, or {"imu": ..., "text": ...}; or a list, a data set or an (N, T, 6)
            array of these; m/s^2 with gravity, rad/s. An inner list holds the windows of one question about several.
            None asks without a sensor.
        text : str or list of str
            One question for all windows, one for each, or several about a single window. Of samples that bring their
            own ``"text"``, none.
        batch_size : int
        measurements, check_units
            See :meth:`LlasaProcessor.__call__`.
        return_full_text : bool
            Put the question in front of the answer. Default: False.
        options : dict
            Anything else goes to ``generate``.

        Returns
        -------
        list of dict
            ``input_text`` and ``generated_text``, one dict per returned sequence; of several windows or questions,
            a list with such a list for each.

        Raises
        ------
        ModelError
            If windows and questions cannot be told apart or do not match.
        """
        single, samples = _as_list(imu)
        texts = text if isinstance(text, (list, tuple)) else None
        if texts is not None and single:
            samples = samples * len(texts)
        if texts is not None and len(texts) != len(samples):
            raise ModelError(f"{len(texts)} questions for {len(samples)} windows. Give one each, or one for all.")
        if not samples:
            raise ModelError("There is nothing to ask about: no window or no question was given.")
        texts = texts if texts is not None else [text] * len(samples)
        inputs = [self._sample(one, asked) for one, asked in zip(samples, texts, strict=True)]
        return super().__call__(inputs[0] if single and not isinstance(text, (list, tuple)) else inputs, **options)

    @staticmethod
    def _sample(one, text):
        """One question and its windows, as a dict of both."""
        if isinstance(one, dict):
            if text is None:
                text = one.get("text")
            one = one.get("imu")
        if not isinstance(text, str) or not text.strip():
            raise ModelError("There is no question: give text, or samples {'imu': ..., 'text': ...}.")
        windows = [] if one is None else [one] if _is_window(one) else list(one)
        return {"windows": windows, "text": text}

    def _sanitize_parameters(self, return_full_text=None, generate_kwargs=None, **options):
        reading = {name: options.pop(name) for name in ("measurements", "check_units") if name in options}
        return (
            reading,
            {"generate_kwargs": {**(generate_kwargs or {}), **options}} if generate_kwargs or options else {},
            {} if return_full_text is None else {"return_full_text": return_full_text},
        )

    def preprocess(self, sample, **reading):
        windows, text = sample["windows"], sample["text"]
        if len(windows) == 1:
            read = self.processor(imu=windows[0], text=text, **reading)
        else:
            read = self.processor(imu=[windows] if windows else None, text=[text], **reading)
        # Lists: a batch joins prompts of one row each, but any number of windows.
        windows = {name: [read[name]] if name in read else [] for name in self.feature_extractor.model_input_names}
        return {"input_ids": read["input_ids"], "attention_mask": read["attention_mask"], **windows, "text": text}

    def _forward(self, inputs, generate_kwargs=None):
        text = inputs.pop("text")
        windows = {name: _joined(inputs.pop(name)) for name in WINDOW_INPUTS if name in inputs}
        windows = {name: value for name, value in windows.items() if value is not None}
        if hasattr(self, "_prepare_generate_kwargs"):
            options = self._prepare_generate_kwargs(generate_kwargs or {}, return_dict_in_generate=False)
        else:  # Transformers before 5.21 keeps the defaults in a configuration of the pipeline's own
            options = {"generation_config": self.generation_config, **(generate_kwargs or {})}
        made = self.model.generate(**inputs, **windows, **options)
        rows, length = inputs["input_ids"].shape
        return {"generated": made[:, length:].reshape(rows, len(made) // rows, -1), "text": text}

    def postprocess(self, outputs, return_full_text=False):
        answers = self.tokenizer.batch_decode(outputs["generated"].flatten(0, 1), skip_special_tokens=True)
        text = outputs["text"]
        front = f"{text} " if return_full_text else ""
        return [{"input_text": text, "generated_text": front + answer.strip()} for answer in answers]

    def save_pretrained(self, save_directory, **kwargs):
        """Write model and processor; the pipeline itself comes with ``import llasa_lib.model``."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)


def _joined(values):
    """Tensors in lists, or in lists of lists, as one tensor; None for none."""
    flat = [tensor for value in values for tensor in (value if isinstance(value, list) else [value])]
    return torch.cat(flat) if flat else None


PIPELINE_REGISTRY.register_pipeline(
    TASK, pipeline_class=ImuTextToTextPipeline, pt_model=AutoModelForImageTextToText, type="multimodal"
)
