"""One way in: windows in SI units and text -> the tensors that the model takes; all normalisation lives here."""

from pathlib import Path

import numpy as np
import scipy
import torch
from transformers import BatchFeature, FeatureExtractionMixin, ProcessorMixin

from llasa_lib import captions, encoder, questions, recordings, signals
from llasa_lib.errors import ModelError
from llasa_lib.model.plain import CUT, Prompt, check_question, plain

IMU_TOKEN = "<imu>"
IGNORE = -100  # torch's cross-entropy skips targets with this value
SHRINKAGE = 5  # moving windows that weigh as much as what training people have in common
LEAST_VARIETY = 0.6  # of the variance within a training recording, median over the statistics
LARGEST = 5.0  # standard deviations; what is further away is only "far"

POCKET = "in a trouser pocket"
PLACEMENTS = {
    "at the waist": ("waist", "belt", "hip", "lower back", "chest", "trunk"),
    POCKET: ("trouser pocket", "pocket", "front pocket", "right pocket", "left pocket", "thigh"),
    "on a limb": ("wrist", "hand", "upper arm", "forearm", "arm", "ankle"),
}
"""How a prompt says where the sensor is, and the words for it."""


def said_placement(word):
    """How a prompt says a placement: ``"pocket"`` -> ``"in a trouser pocket"``; None and ``""`` say nothing.

    Raises
    ------
    ModelError
        For a word that means none of :data:`PLACEMENTS`.
    """
    if not word:
        return ""
    simple = str(word).strip().lower()
    for said, words in PLACEMENTS.items():
        if simple == said or simple in words:
            return said
    known = ", ".join(words[0] for words in PLACEMENTS.values())
    raise ModelError(f"{word!r} is no placement that the model was taught. Use {known}, or leave it out.")


def with_placement(question, placement):
    """A question with the place of the sensor in front of it; without a placement, as it is."""
    said = said_placement(placement)
    return f"Worn {said}.\n{question}" if said else question


def with_measurements(question, facts):
    """A question with the measured values in front of it.

    Parameters
    ----------
    question : str
    facts : captions.Facts
        Of the window that the question is about.

    Returns
    -------
    str
    """
    return f"Measured: {captions.measurement_line(facts)}.\n{question}"


class ImuFeatureExtractor(FeatureExtractionMixin):
    """Windows in SI units -> what the two halves of the projector read.

    A window that stands alone and one of a whole recording (:func:`signals.calibrate`) are read in the same frame. Of a
    recording, the statistics of moving windows are centred on its own mean: everybody walks in another way, and every
    pocket shakes in another way, but climbing differs from walking alike.

    Parameters
    ----------
    scales : dict of str to list of float, optional
        What :meth:`fit` learned of training windows.
    familiar : dict, optional
        What :func:`familiarity.fit` learned of them.
    length : int
        Time steps per window.
    """

    model_input_names = ["imu_values", "imu_summary"]  # noqa: RUF012 - the base class declares it so

    def __init__(self, scales=None, familiar=None, length=120, **kwargs):
        super().__init__(**kwargs)
        zeros, ones = ([value] * len(signals.STATISTICS) for value in (0.0, 1.0))
        self.scales = scales or {
            **{name: zeros for name in ("mean", "within", "still_mean")},
            **{name: ones for name in ("std", "still_std")},
        }
        self.familiar = familiar or {}
        self.length = length

    def has_scales(self):
        """Whether the scales, which may come from anybody's file, are whole, finite, and divide by nothing."""
        names = {"mean", "std", "within", "still_mean", "still_std"}
        if not isinstance(self.scales, dict) or set(self.scales) != names:
            return False
        try:
            arrays = {name: np.array(self.scales[name], dtype=float) for name in names}
        except (TypeError, ValueError):
            return False
        size = (len(signals.STATISTICS),)
        whole = all(values.shape == size and np.isfinite(values).all() for values in arrays.values())
        return whole and arrays["within"].min() >= 0 and min(arrays["std"].min(), arrays["still_std"].min()) > 0

    def fit(self, windows):
        """Learn the scales of the statistics from training windows, see :meth:`windows`. Returns self."""
        windows = self.windows(windows)
        moving, still = windows[windows.moving], windows[~windows.moving]
        for name, values in (("", moving.statistics), ("still_", still.statistics)):
            if len(values):
                std = values.std(0)
                self.scales[f"{name}mean"] = values.mean(0).astype(float).tolist()
                # A statistic that never changed carries nothing: it stays, or its first change would be a million.
                self.scales[f"{name}std"] = np.where(std < 1e-6, 1.0, std).astype(float).tolist()
        if moving.count.any():
            self.scales["within"] = moving.variance[moving.count > 0].mean(0).astype(float).tolist()
        return self

    def __call__(self, imu, return_tensors="pt", check_units=True):
        """Normalise windows.

        Parameters
        ----------
        imu : Calibrated; (T, 6) or (N, T, 6) array, path to a recording, window row with ``"imu"``, or a list of these
            m/s^2 with gravity, rad/s. Of a recording, the first window is taken.
        check_units : bool
            Refuse windows without gravity. Only a control that unplugs the sensor has a reason to switch it off.

        Returns
        -------
        BatchFeature
            ``imu_values`` (N, T, 6): acceleration / 9.8 and rotation in the frame, for the encoder;
            ``imu_summary`` (N, 446): standardised statistics, see :meth:`summary`.
        """
        windows = self.windows(imu, check_units)
        data = {"imu_values": encoder.normalise(self.equalised(windows)), "imu_summary": self.summary(windows)}
        data = {name: np.asarray(value, dtype=np.float32) for name, value in data.items()}
        return BatchFeature(data, tensor_type=return_tensors)

    def summary(self, windows):
        """:class:`signals.Calibrated` -> (N, 446): 220 numbers of those who move, 220 of those who do not, six flags.

        The flags: whether somebody moves; whether it is known which way is up; how much of the recording's own mean was
        taken away, from 0 (a window that stands alone) to 1; and which of :data:`PLACEMENTS` was told, if any.
        """
        scales = {name: np.array(values) for name, values in self.scales.items()}
        weight = self.calibration(windows)
        centre = scales["mean"] + weight[:, None] * (windows.mean - scales["mean"])
        moving = (windows.statistics - centre) / scales["std"]
        still = (windows.statistics - scales["still_mean"]) / scales["still_std"]
        parts = [moving * windows.moving[:, None], still * ~windows.moving[:, None]]
        told = np.array([said_placement(word) for word in windows.placement])[:, None] == list(PLACEMENTS)  # (N, 3)
        flags = np.stack([windows.moving, windows.upright, weight * windows.moving], axis=1)
        parts = [*(part.clip(-LARGEST, LARGEST) for part in parts), flags, told]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def equalised(self, windows):
        """:class:`signals.Calibrated` -> (N, T, 6) in the frame, as the sensors of training people would have felt it.

        Of those who move, each channel is made louder or softer, frequency by frequency, until the recording's mean
        spectrum is the training people's: what a loose pocket adds to every step, whatever the step, goes.
        """
        names, weight = signals.STATISTICS, self.calibration(windows) * windows.moving
        further = weight[:, None] * (np.array(self.scales["mean"]) - windows.mean)  # (N, 220)
        at = lambda what: further[:, [names.index(f"{channel} {what}") for channel in signals.AXES]]  # (N, 6)
        spectrum = np.fft.rfft(windows.frame.astype(np.float64), axis=1)  # (N, T / 2 + 1, 6)
        lines = [at(f"log line {k}") for k in range(1, signals.LINES + 1)]
        rest = [at("log spread of differences")] * (spectrum.shape[1] - 1 - signals.LINES)
        gains = np.stack([np.zeros_like(lines[0]), *lines, *rest], axis=1)
        gains[:, 1:] = scipy.ndimage.uniform_filter1d(gains[:, 1:], 5, axis=1, mode="nearest")
        return np.fft.irfft(spectrum * np.exp(gains), windows.frame.shape[1], axis=1).astype(np.float32)

    def calibration(self, windows):
        """How far the recording of each window can calibrate it, (N,) in 0..1.

        Few windows say little. A recording in which all moving windows are alike holds one activity: its mean is that
        activity, and to take it away would leave nothing.
        """
        within = np.maximum(self.scales["within"], 1e-6)
        varied = np.median(windows.variance / within, axis=1) >= LEAST_VARIETY
        return np.where(varied, windows.count / (windows.count + SHRINKAGE), 0.0)

    def windows(self, imu, check_units=True):
        """Anything that holds windows -> :class:`signals.Calibrated`, checked."""
        if isinstance(imu, signals.Calibrated):
            return imu
        if isinstance(imu, (str, Path)):
            found = signals.make_windows([recordings.read(imu)], length=self.length, labelled=False)
            return signals.calibrate(found, [str(imu)] * len(found))[:1]
        if isinstance(imu, dict):
            imu = imu["imu"]
        elif isinstance(imu, (list, tuple)) and len(imu) and isinstance(imu[0], (str, Path, dict, signals.Calibrated)):
            return signals.Calibrated.joined([self.windows(one, check_units) for one in imu])
        try:
            imu = np.asarray(_off_torch(imu), dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise ModelError(f"A window is no table of numbers ({error}). Give (T, 6) or (N, T, 6) values.") from error
        imu = imu[None] if imu.ndim == 2 else imu
        return signals.calibrate(signals.check_windows(imu, length=self.length, units=check_units))


def _off_torch(imu):
    """Tensors as arrays, in lists too: numpy takes none that has a gradient, lies on a GPU, or is bfloat16."""
    if isinstance(imu, (list, tuple)):
        return [_off_torch(one) for one in imu]
    return imu.detach().float().cpu().numpy() if isinstance(imu, torch.Tensor) else imu


def _is_grouped(imu):
    """Whether ``imu`` is one list of windows per prompt, and not a window written as lists of numbers."""
    if not isinstance(imu, (list, tuple)) or not all(isinstance(group, (list, tuple)) for group in imu):
        return False
    windows = [window for group in imu for window in group]
    return bool(imu) and all(isinstance(window, (str, Path, dict)) or np.ndim(window) == 2 for window in windows)


_PADDING = ("padding", "max_length", "pad_to_multiple_of")


class LlasaProcessor(ProcessorMixin):
    """One way in: windows and text -> the tensors that the model takes.

    Parameters
    ----------
    feature_extractor : ImuFeatureExtractor
    tokenizer : PreTrainedTokenizerBase
        Gets ``<imu>`` as an extra special token.
    tokens_per_window : int
        How many soft tokens stand for one window (:attr:`LlasaConfig.tokens_per_window`).
    measurements : bool
        Whether the model was tuned with measured values in the prompt (:func:`with_measurements`).

    Examples
    --------
    >>> inputs = processor(imu=window, text="What is the person doing?")  # doctest: +SKIP
    >>> processor.answers(model.generate(**inputs, max_new_tokens=12), inputs)  # doctest: +SKIP
    ['The person is walking.']
    """

    def __init__(
        self,
        feature_extractor=None,
        tokenizer=None,
        tokens_per_window=120,
        measurements=False,
        chat_template=None,
        **kwargs,
    ):
        if IMU_TOKEN not in tokenizer.get_vocab():
            tokenizer.add_special_tokens({"additional_special_tokens": [IMU_TOKEN]})
        tokenizer.padding_side = "left"  # generation continues at the right end
        self.tokens_per_window = tokens_per_window
        self.measurements = measurements
        self.imu_token = IMU_TOKEN
        self.imu_token_id = tokenizer.convert_tokens_to_ids(IMU_TOKEN)
        super().__init__(feature_extractor, tokenizer, chat_template=chat_template or tokenizer.chat_template)

    def prompt(self, turns, windows=1):
        """Chat text of a conversation about windows, ready for the next answer.

        Parameters
        ----------
        turns : list of str
            Question, answer, question, ...; ends with a question. Text, whatever it holds: see :func:`plain`.
        windows : int
            Placeholders put in front of the first question.

        Returns
        -------
        Prompt
        """
        said = [[{"type": "text", "text": turn}] for turn in turns]
        said[0] = [{"type": "imu"}] * windows + said[0]
        messages = [{"role": "assistant" if n % 2 else "user", "content": content} for n, content in enumerate(said)]
        return self.apply_chat_template(messages, add_generation_prompt=len(turns) % 2 == 1)

    def apply_chat_template(self, conversation, tokenize=False, return_dict=False, **options):
        """A chat as Transformers writes it down, or several -> :class:`Prompt`, or what the model reads.

        Parameters
        ----------
        conversation : list of {"role": ..., "content": ...}, or list of these
            Content is text, or a list of ``{"type": "text", "text": ...}`` and ``{"type": "imu", "imu": window}``. The
            window itself is needed with ``tokenize`` only.
        tokenize, return_dict : bool
            Call the processor with what was written and the windows; give all, or ``input_ids`` alone.
        options
            Of the tokenizer's method, such as ``add_generation_prompt``.
        """
        single = bool(conversation) and isinstance(conversation[0], dict)
        chats = [conversation] if single else conversation
        reading = {
            "return_tensors": options.pop("return_tensors", "pt"),
            **(options.pop("processor_kwargs", None) or {}),
        }
        prompts, groups = [], []
        for chat in chats:
            windows = []
            told = [{**message, "content": self._content(message.get("content"), windows)} for message in chat]
            prompts.append(Prompt(self.tokenizer.apply_chat_template(told, tokenize=False, **options)))
            groups.append(windows)
        if not tokenize:
            return prompts[0] if single else prompts
        inputs = self(imu=groups if any(groups) else None, prompt=prompts, **reading)
        return inputs if return_dict else inputs["input_ids"]

    def _content(self, content, windows):
        """The text of a message with its placeholders; its windows are added to ``windows``."""
        parts = [{"type": "text", "text": content or ""}] if content is None or isinstance(content, str) else content
        text = ""
        for part in parts:
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            if kind not in {"text", "imu"} or (kind == "text" and not isinstance(part.get("text"), str)):
                raise ModelError(
                    f"A message holds a part of the type {kind!r}. Give text as {{'type': 'text', 'text': ...}} and a "
                    "window as {'type': 'imu', 'imu': ...}."
                )
            text += plain(part["text"], self.tokenizer) if kind == "text" else f"{IMU_TOKEN}\n"
            windows += [part["imu"]] if kind == "imu" and part.get("imu") is not None else []
        return text

    def _ids(self, text, begins=True):
        """Token ids of a finished prompt or a piece of it: what stands on the two sides of a cut never meets."""
        ids = []
        for piece in text.replace(IMU_TOKEN, IMU_TOKEN * self.tokens_per_window).split(CUT):
            if piece:
                ids += self.tokenizer(piece, add_special_tokens=begins and not ids).input_ids
        return ids

    def __call__(
        self,
        imu=None,
        text=None,
        return_tensors="pt",
        check_units=True,
        measurements="auto",
        placement=None,
        prompt=None,
        **padding,
    ):
        """Windows and questions -> model inputs.

        Parameters
        ----------
        imu : see :meth:`ImuFeatureExtractor.__call__`, optional
            One window per question; lists of windows, one inner list per question, for questions about several windows;
            without it, a chat about text alone.
        text : str or list of str
            A question is put into the chat format with ``<imu>`` in front; one question is asked of every window. What
            it says is text, whatever it looks like (:func:`plain`). A :class:`Prompt` among them stays as it is.
        check_units : bool
            See :meth:`ImuFeatureExtractor.__call__`.
        measurements : bool or "auto"
            Put the measured values in front of plain questions about one window (:func:`with_measurements`). "auto"
            does what the model was tuned with: the activity is told from the sensor alone, and if :attr:`measurements`
            is set, any other question, whose answer may hold numbers, gets them. A question that brings such a line
            itself is refused, unless False is said.
        placement : str, optional
            Where the sensor is worn (:data:`PLACEMENTS`), put in front of plain questions; in place of what the windows
            say (:func:`signals.calibrate`).
        prompt : str or list of str
            In place of ``text``: finished prompts of a program, whose markers and ``<imu>`` count as such.
        padding
            ``padding``, ``max_length`` and ``pad_to_multiple_of`` of the tokenizer. Default: to the longest prompt.

        Returns
        -------
        BatchFeature
            ``input_ids``, ``attention_mask`` (B, L), padded on the left; ``imu_values``, ``imu_summary``.

        Raises
        ------
        ModelError
            If the number of ``<imu>`` is not the number of windows, if there is no text or no window at all, or if a
            question holds ``<imu>`` or a line of measured values.
        """
        odd = [
            name for name, value in padding.items() if name not in _PADDING and value is not None and value is not False
        ]
        if odd:
            raise ModelError(
                f"The processor takes no {odd[0]}, only {', '.join(_PADDING)} beside its own: leave it out."
            )
        padding = {"padding": padding.get("padding") or True, **{k: v for k, v in padding.items() if k in _PADDING[1:]}}
        if prompt is not None:
            text = Prompt(prompt) if isinstance(prompt, str) else [Prompt(one) for one in prompt]
        if text is None or not len(text):
            raise ModelError("There is no text: give a question, or one per window.")
        for one in [text] if isinstance(text, str) else text:
            if not isinstance(one, Prompt):
                check_question(one, IMU_TOKEN, measured=measurements is False)
        if imu is not None and not isinstance(imu, Path) and not len(imu):
            raise ModelError("There is no window: give at least one, or leave imu out for a chat about text alone.")
        if _is_grouped(imu):
            if measurements is True:
                raise ModelError(
                    "Measured values belong to one window per prompt. Leave out measurements, or ask one by one."
                )
            texts, imu = self._grouped_texts(imu, text, placement), self._joined(imu, check_units)
        else:
            imu = self.feature_extractor.windows(imu, check_units) if imu is not None else None
            texts = self._texts(text, imu, measurements, placement)
        sensor = self.feature_extractor(imu, return_tensors, check_units) if imu is not None else {}
        tokens = self.tokenizer.pad(
            {"input_ids": [self._ids(t) for t in texts]}, return_tensors=return_tensors, **padding
        )
        return BatchFeature({**tokens, **sensor})

    def _joined(self, groups, check_units):
        """All windows of all prompts in one array, or None."""
        windows = [self.feature_extractor.windows(window, check_units) for group in groups for window in group]
        return signals.Calibrated.joined(windows) if windows else None

    def _grouped_texts(self, groups, text, placement):
        """One prompt per group of windows, each with as many placeholders as windows."""
        texts = [text] * len(groups) if isinstance(text, str) else list(text)
        texts = [t if isinstance(t, Prompt) else with_placement(t, placement) for t in texts]
        if len(texts) != len(groups):
            raise ModelError(
                f"{len(texts)} text(s) for {len(groups)} lists of windows. Give one text per inner list, "
                "or a single text for all."
            )
        texts = [
            t if isinstance(t, Prompt) else self.prompt([t], windows=len(group))
            for t, group in zip(texts, groups, strict=True)
        ]
        wrong = [
            f"text {n} holds {t.count(IMU_TOKEN)} {IMU_TOKEN} for {len(group)} window(s)"
            for n, (t, group) in enumerate(zip(texts, groups, strict=True))
            if t.count(IMU_TOKEN) != len(group)
        ]
        if wrong:
            raise ModelError(
                f"Texts and windows do not match: {'; '.join(wrong)}. Put one {IMU_TOKEN} per window, "
                "or leave it out: it is then added for you."
            )
        return texts

    def measures(self, text, measurements="auto"):
        """Whether a text gets the line of measured values, see :meth:`__call__`; a finished prompt never does."""
        if measurements == "auto":
            measurements = self.measurements and text not in questions.RECOGNITION_QUESTIONS
        return bool(measurements) and not isinstance(text, Prompt)

    def _texts(self, text, imu, measurements, placement):
        """Prompts that take the windows in order, one each where the text does not say otherwise."""
        windows = len(imu) if imu is not None else 0
        texts = [text] * max(windows, 1) if isinstance(text, str) and not isinstance(text, Prompt) else text
        texts = [texts] if isinstance(texts, str) else list(texts)
        if windows and windows == len(texts):
            measured = [n for n, one in enumerate(texts) if self.measures(one, measurements)]
            for n, facts in zip(measured, captions.measure_all(imu.imu[measured]) if measured else [], strict=True):
                texts[n] = with_measurements(texts[n], facts)
            placements = imu.placement if placement is None else [placement] * windows
            texts = [
                t if isinstance(t, Prompt) else with_placement(t, place)
                for t, place in zip(texts, placements, strict=True)
            ]
        texts = [t if isinstance(t, Prompt) else self.prompt([t], windows=1 if windows else 0) for t in texts]
        placeholders = sum(t.count(IMU_TOKEN) for t in texts)
        if placeholders != windows:
            raise ModelError(
                f"The text holds {placeholders} {IMU_TOKEN} for {windows} window(s). Put one {IMU_TOKEN} per window, "
                "or leave it out: it is then added for you."
            )
        return texts

    def conversation(self, turns, windows=1):
        """Token ids and labels of a finished conversation about windows.

        Parameters
        ----------
        turns : list of (question, answer)
        windows : int
            See :meth:`prompt`.

        Returns
        -------
        dict
            ``input_ids`` and ``labels``, lists of equal length; labels are -100 except on answers and their end mark.
        """
        flat, ids, labels, done = [], [], [], ""
        for question, answer in turns:
            flat.append(question)
            asked = self.prompt(flat, windows)
            flat.append(answer)
            answered = self.prompt(flat, windows)
            if not (asked.startswith(done) and answered.startswith(asked)):
                raise ModelError(
                    "The chat template writes earlier turns in another way than the last one, so a conversation cannot "
                    "be taught turn by turn. Use the template chatml or vicuna."
                )
            # NOTE: tokenised apart, because at inference the prompt ends where the answer begins.
            before, reply = asked[len(done) :], answered[len(asked) :]
            tail = reply[len(reply.rstrip()) :]
            for piece, taught in ((before, False), (reply.rstrip(), True), (tail, False)):
                new = self._ids(piece, begins=not ids)
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
