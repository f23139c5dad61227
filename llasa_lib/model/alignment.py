"""Chapter 4: a fresh projector in front of a frozen language model, its warm-up, and its training."""

import statistics
import time

import numpy as np
import scipy
import torch
from torch import nn
from tqdm import tqdm

from llasa_lib import encoder, language_models, processes, signals, training
from llasa_lib.model.conversations import Conversations, collate, read_once
from llasa_lib.model.modeling import LlasaForConditionalGeneration
from llasa_lib.model.processing import ImuFeatureExtractor, LlasaProcessor, with_placement

TEMPERATURE = 0.1  # of the softmax over activities in the contrastive loss
CAPTION_PROMPT = "Describe what the sensor felt."


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
    captions, questions, told = corpus["caption"], corpus["questions"], corpus["told"]
    samples = []
    for row in training.passes(len(corpus), epochs, rng):
        if rng.random() < caption_share:
            question, answer = CAPTION_PROMPT, captions[row]
        else:
            pair = next(pair for pair in questions[row] if pair["kind"] == "recognition")
            question, answer = pair["question"], pair["answer"]
        samples.append((row, [(with_placement(question, told[row]), answer)]))
    return samples


def build(
    imu_encoder,
    train_imu,
    language_model,
    steps_per_token,
    summary_tokens,
    standardise=False,
    seed=0,
    projector="mlp2x_gelu",
    loaded=None,
):
    """Fresh model and processor for a profile's language model; the statistics are fitted on training windows.

    Parameters
    ----------
    imu_encoder : encoder.LimuBertModel
    train_imu : (N, T, 6) array, SI units, or Calibrated
    language_model : profiles.LanguageModel
    loaded : (transformers.PreTrainedModel, tokenizer), optional
        What :func:`language_models.load` makes of ``language_model``, where it was loaded before. Several models may
        share it, as long as none of them trains it.

    Returns
    -------
    (LlasaForConditionalGeneration, LlasaProcessor)
    """
    text_model, tokenizer = loaded or language_models.load(
        language_model.name, chat=language_model.chat, quantize=language_model.quantize
    )
    if not language_model.quantize and processes.count() == 1:  # a launcher's engine places the model itself
        text_model = text_model.to(language_models.pick_device())
    extractor = ImuFeatureExtractor(length=imu_encoder.config.max_position_embeddings)
    train_imu = extractor.windows(train_imu)
    processor = LlasaProcessor(extractor.fit(train_imu), tokenizer)
    model = LlasaForConditionalGeneration.from_parts(
        imu_encoder, text_model, processor, steps_per_token, summary_tokens, standardise, seed, projector
    )
    if standardise:
        # A few hundred windows fix two averages per state well enough.
        some = train_imu[:: max(1, len(train_imu) // 512)]
        states = torch.from_numpy(encoder.embed(imu_encoder, extractor.equalised(some)))
        model.model.projector.fit(states, words(text_model))
    return model, processor


def words(language_model):
    """All words as the layers of a language model see them (Gemma scales them inside the embedding): (V, H)."""
    embedding = language_model.get_input_embeddings()
    return embedding(torch.arange(embedding.num_embeddings, device=embedding.weight.device)).detach()


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


def nearest_words(model, targets, **sensor):
    """Cosine between a window's mean soft token and each of :func:`word_targets`: (M, K).

    ``sensor`` is what :meth:`LlasaModel.get_imu_features` takes.
    """
    tokens = model.get_imu_features(**sensor)
    return nn.functional.normalize(tokens.mean(1).float(), dim=-1) @ targets.to(tokens.device).T


@torch.inference_mode()
def recognised(model, processor, windows, names=None, batch_size=256):
    """What somebody does in each window, by the words that lie nearest to its soft tokens; no language model is run.

    So a day of windows takes a minute. The temperature is the contrastive loss's own, corrected on validation people.

    Parameters
    ----------
    windows : signals.Calibrated, or (N, T, 6) array
    names : list of K str, optional
        Default: what alignment taught the model to name.

    Returns
    -------
    (list of K str, (N, K) array)
        Names, and their probabilities in each window.
    """
    names = names or model.config.activities
    windows = processor.feature_extractor.windows(windows)
    temperature = TEMPERATURE * processor.feature_extractor.familiar.get("temperature", 1.0)
    targets, found = word_targets(model, processor, names), []
    for start in range(0, len(windows), batch_size):
        sensor = read_once(model, processor, windows[start : start + batch_size])
        sensor = {name: value.to(model.device) for name, value in sensor.items()}
        cosines = nearest_words(model, targets, **sensor).float().cpu().numpy()
        found.append(scipy.special.softmax(cosines / temperature, axis=1))
    return names, np.concatenate(found)


def contrastive_loss(tokens, targets, activity_labels, temperature=TEMPERATURE):
    """Contrastive loss: a window's soft tokens should lie nearer to its activity's words than to the others'.

    Half of it asks this of every single token, half of their mean. Of the mean alone, a language model can read little:
    its layers see tokens one by one.

    Parameters
    ----------
    tokens : (M, S, H) tensor
        Soft tokens of M windows.
    targets : (K, H) tensor
        Of :func:`word_targets`.
    activity_labels : (M,) long tensor
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
    single = nn.functional.cross_entropy(
        each.flatten(0, 1) / temperature, activity_labels.repeat_interleave(each.shape[1])
    )
    return (single + nn.functional.cross_entropy(mean / temperature, activity_labels)) / 2


class _WithContrastiveLoss(nn.Module):
    """The model in training, its own loss and the words' loss added up.

    Without it, alignment bends the projector to the training people within a few steps, and forgets what the warm-up
    found for everybody.
    """

    def __init__(self, llasa, targets, weight):
        super().__init__()
        self.llasa, self.weight = llasa, weight
        self.register_buffer("targets", targets, persistent=False)

    def forward(self, activity_labels=None, share=1.0, **inputs):
        """``share``: how much of the batch this process has; the words' loss is a mean over all of it."""
        output = self.llasa(**inputs)
        if activity_labels is not None and output.loss is not None:
            words = contrastive_loss(output.imu_hidden_states, self.targets, activity_labels)
            output.loss = output.loss + self.weight * share * words
        return output


def _targets(model, processor, corpus):
    """The activities in a corpus, their word directions, and which of them each window is."""
    names = sorted(set(corpus["activity"]))
    numbers = torch.tensor([names.index(name) for name in corpus["activity"]])
    return names, word_targets(model, processor, names), numbers


def warm_up(model, processor, corpus, settings, seed, sensor=None):
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
    sensor : dict of tensors, optional
        Of :func:`read_once`, if it is at hand already.

    Returns
    -------
    list of float
        Mean :func:`contrastive_loss` of every pass.
    """
    if not settings.warm_up_epochs:
        return []
    _, targets, activity_labels = _targets(model, processor, corpus)
    training.freeze(model)
    sensor = sensor or read_once(model, processor, signals.calibrate(corpus))
    projector = model.model.projector.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        projector.parameters(), lr=settings.warm_up_learning_rate, weight_decay=settings.weight_decay
    )
    generator = torch.Generator().manual_seed(seed)
    losses = []
    # Under a launcher every process does the same: it is cheaper than sending the weights around.
    hidden = None if processes.is_main() else True
    for _ in tqdm(range(settings.warm_up_epochs), desc="warm-up", unit="pass", disable=hidden):
        total = 0.0
        for rows in torch.randperm(len(activity_labels), generator=generator).split(64):
            inputs = {name: values[rows].to(model.device) for name, values in sensor.items()}
            loss = contrastive_loss(model.get_imu_features(**inputs), targets, activity_labels[rows].to(model.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / len(activity_labels))
    return losses


def step_seconds(model, processor, corpus, batch_size, seed, repeats=2):
    """Seconds of a projector's step through the frozen language model, median of ``repeats`` after a first one.

    Parameters
    ----------
    corpus : datasets.Dataset
        Its first windows are named, as in alignment.
    """
    corpus = corpus.select(range(min(batch_size, len(corpus))))
    training.freeze(model).model.projector.requires_grad_(True)
    samples = alignment_samples(corpus, 1, 0.0, seed)
    data = Conversations(processor, read_once(model, processor, signals.calibrate(corpus)), samples, len(samples), seed)
    batch = collate([data[n] for n in range(len(data))], processor.tokenizer.pad_token_id)
    batch = {name: value.to(model.device) for name, value in batch.items()}
    seconds = []
    for _ in range(1 + repeats):
        started = time.perf_counter()
        model(**batch).loss.backward()
        model.zero_grad(set_to_none=True)
        if model.device.type != "cpu":
            torch.accelerator.synchronize()  # a GPU answers before it has finished
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def align(model, processor, corpus, settings, folder, seed, keep=False, sensor=None):
    """Train the projector in front of the frozen encoder and the frozen language model (chapter 4).

    Parameters
    ----------
    model : LlasaForConditionalGeneration, trained in place
    corpus : datasets.Dataset
        Training windows with captions and questions.
    settings : profiles.Align
    folder : path
        For checkpoints while the run lasts.
    keep : bool
        See :func:`training.fit`.
    sensor : dict of tensors, optional
        Of :func:`read_once`, if it is at hand already.

    Returns
    -------
    list of dict
        The loss curve, see :func:`training.fit`.
    """
    training.freeze(model)
    sensor = sensor or read_once(model, processor, signals.calibrate(corpus))
    # An interrupted run does this again: it takes seconds, and a checkpoint then replaces what it made.
    warm_up(model, processor, corpus, settings, seed, sensor)
    samples = alignment_samples(corpus, settings.epochs, settings.caption_share, seed)
    model.model.projector.requires_grad_(True)
    groups = {}
    if settings.encoder_learning_rate:
        model.model.thaw_encoder()
        sensor = read_once(model, processor, signals.calibrate(corpus))
        groups["model.encoder"] = settings.encoder_learning_rate
    model.config.activities, targets, activity_labels = _targets(model, processor, corpus)
    weight = settings.contrastive_weight / settings.accumulate
    return training.fit(
        _WithContrastiveLoss(model, targets, weight) if weight else model,
        Conversations(processor, sensor, samples, settings.batch_size, seed, activity_labels if weight else None),
        folder,
        settings,
        seed,
        groups=groups,
        collate=lambda batch: collate(batch, processor.tokenizer.pad_token_id),
        repeat=False,  # the samples hold every pass, each with its own choice of question
        shuffle=False,
        description="alignment",
        keep=keep,
    )
