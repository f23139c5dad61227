"""How fast the sensor language model learns and answers: the plain way against the library's, on the same windows.

- *tuning*: the plain way gives every window 120 soft tokens, runs the encoder at every step, computes logits at every
  position, puts one question into one sequence and pads batches as they come. Same language model, same adapter, same
  questions and answers, as many of them per step. The result compared is the loss per token on held-out answers.
- *mask*: a training step with the mask of the padding, against one without it. Same loss.
- *six labels*: six passes over prompt and sentence, against one over what they share. Same scores.
- *answer and labels*: the prompt read for the answer and again for the labels, against once for both. Same results.
- *eight questions* about each of two windows: eight calls, against one. Same answers.
- *batched generation*: one window at a time, against all at once. Same answers.
- *bootstrap*: every draw of people scored by scikit-learn, against sums of confusion matrices. Same interval.
- *first answer*: ``llasa ask`` in a process of its own, from nothing to the answer: seconds, and peak memory.

The tuned model of the profile answers if the pipeline has made it; else a fresh one does, which talks nonsense as fast.

Run: ``python benchmarks/bench_language_model.py [--repeats 3]``; exit code 1 if a limit is broken.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
from torch import nn

from llasa_lib import encoder, evaluation, files, model, profiles, questions, signals, training, tuning
from llasa_lib.pipeline import Pipeline
from llasa_lib.recordings import ACTIVITIES

LIMITS = {
    "tuning": 4.0,
    "mask": 1.02,
    "six labels": 4.0,
    "answer and labels": 1.15,
    "eight questions": 3.0,
    "batched generation": 3.0,
    "bootstrap": 50.0,
}
FIRST_ANSWER = {"s": 6.0, "GB": 1.3}
WORSE = 1.05  # the library's held-out loss may be this much above the plain one, no more
PAIRS, TURNS, STEPS = 20, 5, 8  # questions per step, questions per packed conversation, steps
QUESTIONS = (
    questions.RECOGNITION_QUESTION,
    "Which measurements support your answer?",
    "Which axis carries gravity?",
    "How fast is the step rhythm?",
    "How many impacts are there?",
    "When is acceleration largest?",
    "How much does the acceleration vary?",
    "Who is the person?",
)


class Plain(nn.Module):
    """A model whose loss is computed from logits at every position, labelled or not."""

    def __init__(self, llasa):
        super().__init__()
        self.llasa = llasa

    def forward(self, labels, **inputs):
        logits = self.llasa(**inputs).logits[:, :-1].float()
        return {"loss": nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)}


def built(run, windows, plain):
    """A fresh model with an adapter: 120 soft tokens of the published encoder, or what the profile says."""
    align, published = run.profile.align, profiles.load("paper").encoder.network
    network = (published if plain else run.profile.encoder.network).model_dump()
    torch.manual_seed(0)
    limu_bert = encoder.LimuBertModel(encoder.LimuBertConfig(**network)).eval()
    kinds = (1, 0, False) if plain else (align.steps_per_token, align.summary_tokens, align.standardise)
    llasa, processor = model.build(limu_bert, signals.to_array(windows), run.profile.language_model, *kinds, seed=0)
    torch.manual_seed(0)
    return tuning.add_adapter(llasa, run.profile.tune), processor


def batches(llasa, processor, corpus, plain, per_step, turns):
    """The same questions as batches: one per sequence in the order they come, or packed and of similar length."""
    talks = [[(pair["question"], pair["answer"]) for pair in asked][:turns] for asked in corpus["questions"]]
    imu, pad = signals.to_array(corpus), processor.tokenizer.pad_token_id
    if plain:
        samples = [(row, [pair]) for row, talk in enumerate(talks) for pair in talk]
        data, size = model.Conversations(processor, imu, samples, 1, seed=0), per_step
        data.samples = [data.samples[n] for n in np.random.default_rng(0).permutation(len(data))]  # not by length
    else:
        size = per_step // turns
        sensor = model.read_once(llasa.get_base_model(), processor, imu)
        data = model.Conversations(processor, sensor, list(enumerate(talks)), size, seed=0)
    starts = range(0, len(data) - size + 1, size)
    return [model.collate([data[n] for n in range(start, start + size)], pad) for start in starts]


def learn(network, steps, rate=1e-3):
    """Train on batches; seconds of every step, without the first, which also sets things up."""
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=rate)
    seconds = []
    for batch in steps:
        started = time.perf_counter()
        loss = network(**batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


@torch.no_grad()
def held_out_loss(llasa, processor, corpus):
    """Mean loss per answer token, every question in a conversation of its own."""
    total = tokens = 0
    for batch in batches(llasa, processor, corpus, plain=True, per_step=10, turns=TURNS):
        count = int((batch["labels"] != -100).sum())
        total, tokens = total + float(llasa(**batch).loss) * count, tokens + count
    return total / tokens


def tuning_row(run, corpus, held_out, pairs=PAIRS, turns=TURNS):
    """Questions learned per second in both ways, and the loss on held-out answers after all of them."""
    row = {}
    for way in ("plain", "library"):
        llasa, processor = built(run, corpus, way == "plain")
        steps = batches(llasa, processor, corpus, way == "plain", pairs, turns)
        seconds = learn(Plain(llasa) if way == "plain" else llasa.train(), steps)
        row[way] = pairs / statistics.median(seconds)
        row[f"{way} loss"] = held_out_loss(llasa.eval(), processor, held_out)
    return row


def mask_row(run, corpus, repeats):
    """Steps per second with the mask of the padding and without it, and whether the losses agree."""
    llasa, processor = built(run, corpus, plain=False)
    talks = tuning.tuning_samples(corpus, run.profile.tune.turns, 1, 0, measured_share=1.0)[:2]
    imu, pad = signals.to_array(corpus), processor.tokenizer.pad_token_id
    data = model.Conversations(processor, imu, talks, len(talks), seed=0)
    batch = model.collate([data[n] for n in range(len(data))], pad)
    lengths = torch.tensor([len(data[n]["input_ids"]) for n in range(len(data))])
    mask = (torch.arange(batch["input_ids"].shape[1]) < lengths[:, None]).long()

    def step(**more):
        loss = llasa(**batch, **more).loss
        loss.backward()
        llasa.zero_grad()
        return loss.item()

    rates, found = in_turn({"plain": lambda: step(attention_mask=mask), "library": step}, 1, repeats)
    return "mask", "steps/s", rates, bool(np.isclose(found["plain"], found["library"], rtol=1e-4))


def in_turn(ways, amount, repeats):
    """Rate of every way, median of runs that take turns, and what each returned."""
    results = {name: function() for name, function in ways.items()}  # a first run that does not count
    seconds = {name: [] for name in ways}
    for _ in range(repeats):
        for name, function in ways.items():
            started = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - started)
    return {name: amount / statistics.median(values) for name, values in seconds.items()}, results


@torch.inference_mode()
def six_passes(llasa, processor, windows, sentences):
    """Log-probability of every sentence from a pass of its own over prompt and sentence."""
    question, columns = questions.RECOGNITION_QUESTION, []
    for sentence in sentences:
        data = model.Conversations(
            processor, windows, [(n, [(question, sentence)]) for n in range(len(windows))], 1, seed=0
        )
        data.samples.sort(key=lambda sample: sample[0])  # they come in an order for training
        batch = model.collate([data[n] for n in range(len(windows))], processor.tokenizer.pad_token_id)
        labels = batch.pop("labels")[:, 1:]
        scores = llasa(**batch).logits[:, :-1].float().log_softmax(-1)
        taught = labels != -100
        columns.append((scores.gather(2, labels.clamp(min=0)[..., None]).squeeze(2) * taught).sum(1))
    return torch.stack(columns, dim=1).numpy()


def answering_rows(llasa, processor, windows, repeats=3, tokens=32):
    """Rates in both ways for labels, questions and windows, and whether the results agree."""
    sentences = [questions.recognition_answer(name) for name in sorted(set(windows["activity"]))]
    imu, asked, what = signals.to_array(windows), list(QUESTIONS), questions.RECOGNITION_QUESTION
    ask = lambda some, question: model.answers(llasa, processor, some, question, tokens)
    score = lambda: model.score_sentences(llasa, processor, imu, what, sentences)
    ways = {"plain": lambda: six_passes(llasa, processor, imu, sentences), "library": score}
    rates, found = in_turn(ways, len(imu), repeats)
    yield "six labels", "windows/s", rates, close(found["plain"], found["library"])
    ways = {
        "plain": lambda: (model.answers(llasa, processor, imu, what), score()),
        "library": lambda: model.answers_and_scores(llasa, processor, imu, what, sentences),
    }
    rates, found = in_turn(ways, len(imu), repeats)
    texts, scores = (dict(zip(found, part, strict=True)) for part in zip(*found.values(), strict=True))
    yield "answer and labels", "windows/s", rates, agree(texts) and close(scores["plain"], scores["library"])
    ways = {
        "plain": lambda: [ask(one[None], question)[0] for one in imu[:2] for question in asked],
        "library": lambda: [text for some in ask(imu[:2], [asked, asked]) for text in some],
    }
    rates, found = in_turn(ways, 2 * len(asked), repeats)
    yield "eight questions", "answers/s", rates, agree(found)
    ways = {
        "plain": lambda: [ask(one[None], QUESTIONS[1])[0] for one in imu],
        "library": lambda: ask(imu, QUESTIONS[1]),
    }
    rates, found = in_turn(ways, len(imu), repeats)
    yield "batched generation", "answers/s", rates, agree(found)


def close(one, other):
    """Whether log-probabilities are the same but for the order of summation."""
    return bool(np.allclose(one, other, atol=1e-2))


def bootstrap_row(people=9, windows=67, draws=2000):
    """Intervals per second in both ways, for as many windows as HAPT's test people have, and whether they agree."""
    rng = np.random.default_rng(0)
    true, subjects = rng.choice(ACTIVITIES[:6], people * windows), np.repeat(np.arange(people), windows)
    said = np.where(rng.random(len(true)) < 0.9, true, rng.permutation(true))

    def plain():
        rng, values = np.random.default_rng(0), []
        for _ in range(draws):
            drawn = np.concatenate([np.flatnonzero(subjects == n) for n in rng.integers(people, size=people)])
            values.append(evaluation.macro_f1(true[drawn], said[drawn]))
        return np.quantile(values, [0.025, 0.975])

    library = lambda: evaluation.bootstrap_interval(true, said, subjects, draws)
    rates, found = in_turn({"plain": plain, "library": library}, 1, 1)
    return "bootstrap", "intervals/s", rates, bool(np.allclose(found["plain"], found["library"]))


def agree(found):
    """Whether two lists of answers are the same but for one in ten: where two words are equally likely, order of
    summation decides."""
    same = [one == other for one, other in zip(found["plain"], found["library"], strict=True)]
    return sum(same) >= 0.9 * len(same) - 1e-9


def first_answer(run):
    """Seconds and peak GB of ``llasa ask`` in a fresh process."""
    command = [sys.executable, "-m", "llasa_lib", "ask", str(files.PACKAGE.parent / "data/samples/walk.csv")]
    started = time.perf_counter()
    subprocess.run([*command, "--profile", run.profile.name], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    unit = 1e9 if sys.platform == "darwin" else 1e6
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit


def main(repeats=3):
    """Measure, print, and say which limit is broken."""
    training.quiet()
    run, wrong = Pipeline(), []
    splits = run.caption()
    count = PAIRS // TURNS * STEPS
    spread = lambda split, n: split.select(np.linspace(0, len(split) - 1, n).astype(int))
    print(f"{run.profile.language_model.name}, {torch.get_num_threads()} threads, torch {torch.__version__}")

    tuned = (run.folder / "tune" / "stage.json").exists()
    # First of all: Linux counts what this process holds when it starts another as that one's peak.
    if tuned:
        seconds, memory = first_answer(run)
        print(f"first answer: {seconds:.1f} s, {memory:.2f} GB")
        for value, (unit, limit) in zip((seconds, memory), FIRST_ANSWER.items(), strict=True):
            if value > limit:
                wrong.append(f"first answer: {value:.2f} {unit} is more than {limit} {unit}.")

    def show(name, unit, rates, same, remark=""):
        ratio = rates["library"] / rates["plain"]
        print(f"{name}: plain {rates['plain']:.3g}, library {rates['library']:.3g} {unit} ({ratio:.2f} times){remark}")
        if ratio < LIMITS[name]:
            wrong.append(f"{name}: {ratio:.2f} times is less than {LIMITS[name]}.")
        if not same:
            wrong.append(f"{name}: both ways must give the same result, and do not.")

    row = tuning_row(run, spread(splits["train"], count), spread(splits["validation"], 12))
    losses = (row["library loss"], row["plain loss"])
    remark = f"; loss on held-out answers {losses[0]:.3f} against {losses[1]:.3f}"
    show("tuning", "questions/s", row, losses[0] <= WORSE * losses[1], remark)

    show(*mask_row(run, spread(splits["train"], 2), repeats))
    llasa, processor = model.load(run.folder / "tune") if tuned else built(run, splits["train"], plain=False)
    show(*bootstrap_row())
    for row in answering_rows(llasa.eval(), processor, spread(splits["test"], 16), repeats):
        show(*row)
    print(*wrong, sep="\n", file=sys.stderr)
    return min(len(wrong), 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    sys.exit(main(parser.parse_args().repeats))
