"""What each stage costs on this machine, in a few minutes: windows, samples and tokens per second.

- Each row runs the library's own functions on real windows, for a few seconds after a first run that does not count.
- The language model is the profile's; the weights in front of it are fresh, since speed does not depend on training.
- Times of whole stages are added where the pipeline has made them.
- The result goes to the screen and to ``artifacts/<profile>/benchmark.json``.

``python benchmarks/run.py [PROFILE]``, default ``LLASA_PROFILE``, else what fits the machine.
"""

import json
import os
import platform
import resource
import statistics
import sys
import time
from functools import partial

import torch
from rich.console import Console
from rich.table import Table

from llasa_lib import captions, encoder, files, model, questions, recordings, signals, training, tuning
from llasa_lib.errors import ArtifactError
from llasa_lib.pipeline import STAGES, Pipeline

SECONDS = 4.0  # of measurement per row
REPEATS = 3  # at the least


def rate(function, amount):
    """Median of ``amount`` per second over calls of ``function``, and the number of calls."""
    function()
    seconds, started = [], time.perf_counter()
    while len(seconds) < REPEATS or time.perf_counter() - started < SECONDS:
        before = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - before)
    return amount / statistics.median(seconds), len(seconds)


def training_step(network, batch):
    """Forward, backward and gradients set back: a step without its optimiser, which costs next to nothing."""
    network(**batch).loss.backward()
    network.zero_grad(set_to_none=True)


def device_batch(batch, device):
    """A batch of tensors on a device."""
    return {name: value.to(device) for name, value in batch.items()}


def stage_rows(run, windows):
    """Stages 1 to 3: (stage, what, function, amount, unit) for each row."""
    settings, imu = run.profile.encoder, signals.to_array(windows)
    person = recordings.load("hapt", subjects=[1])
    seconds = sum(one.time[-1] - one.time[0] for one in person)
    values = torch.from_numpy(encoder.normalise(imu[: settings.batch_size]))
    limu_bert = encoder.LimuBertForPreTraining(encoder.LimuBertConfig())
    masked, batch = encoder.MaskedPretraining(limu_bert, settings), {"imu_values": values}
    few = list(zip(imu[:32], windows["activity"][:32], strict=True))
    return [
        ("signals", "cut and resample", partial(signals.make_windows, person), seconds / 3600, "hours of recording/s"),
        (
            "encoder",
            "pretraining step",
            partial(training_step, masked, batch),
            len(values),
            "windows/s",
        ),
        ("encoder", "embedding", partial(encoder.embed, limu_bert.eval(), imu), len(imu), "windows/s"),
        (
            "captions",
            "measure, describe, ask",
            lambda: [questions.make(captions.measure(one), activity) for one, activity in few],
            len(few),
            "windows/s",
        ),
    ]


def model_rows(run, windows):
    """Stages 4 to 6: the same, with the profile's language model. A generator, since tuning changes the model."""
    align, tune, test, seed = run.profile.align, run.profile.tune, run.profile.evaluate, run.profile.seed
    corpus = questions.make_corpus(windows.select(range(max(align.batch_size, tune.batch_size))))
    imu = signals.to_array(corpus)
    language_model = run.profile.language_model
    fresh = encoder.LimuBertModel(encoder.LimuBertConfig())
    llasa, processor = model.build(
        fresh, imu, language_model, align.steps_per_token, align.summary_tokens, align.standardise, seed
    )

    def batch(samples, size):
        conversations = model.Conversations(processor, imu, samples, size, seed)
        padded = model.collate([conversations[n] for n in range(size)], processor.tokenizer.pad_token_id)
        return device_batch(padded, llasa.device)

    question, tokens = questions.RECOGNITION_QUESTION, test.max_new_tokens
    sentences = [questions.recognition_answer(name) for name in sorted(set(windows["activity"]))]
    some = imu[: test.batch_size]
    ask = partial(model.answers, llasa.eval(), processor, some, question)
    score = partial(model.score_sentences, llasa, processor, some, question, sentences)
    yield ("evaluation", f"score {len(sentences)} labels", score, len(some), "windows/s")
    yield ("evaluation", f"answers of {tokens} tokens", partial(ask, max_new_tokens=tokens), len(some), "windows/s")

    training.freeze(llasa).model.projector.requires_grad_(True)
    step = batch(model.alignment_samples(corpus, 1, align.caption_share, seed), align.batch_size)
    yield ("alignment", "projector step", partial(training_step, llasa, step), align.batch_size, "samples/s")

    step = batch(tuning.tuning_samples(corpus, tune.turns, 1, seed), tune.batch_size)
    adapted = tuning.add_adapter(llasa, tune)
    yield ("tuning", "LoRA step", partial(training_step, adapted, step), tune.batch_size, "samples/s")


def recording_rows(profile):
    """Reading a large data set: generated files of 1, 10 and 40 million rows, only the smallest under ``smoke``."""
    import bench_hhar  # here, since it writes gigabytes and only this row needs it

    found, wrong = bench_hhar.run((1,) if profile == "smoke" else (1, 10, 40))
    for row in found:
        what = f"HHAR, {row['millions']} million rows, peak {row['peak_gb']:.2f} GB"
        if "speedup" in row:
            what += f", {row['speedup']:.0f} times row by row"
        yield {"stage": "recordings", "what": what, "value": row["rows_per_second"], "unit": "rows/s", "repeats": 1}
    for sentence in wrong:
        print(sentence, file=sys.stderr)


def whole_stages(run):
    """Seconds of every stage that the pipeline has made."""
    made = {}
    for stage in STAGES:
        if (run.folder / stage / "stage.json").exists():
            try:
                made[stage] = run.seconds(stage)
            except (ArtifactError, KeyError):
                continue
    return made


def main(profile=None):
    """Measure, print, and save."""
    run, console = Pipeline(profile), Console()
    training.quiet()
    torch.manual_seed(run.profile.seed)
    windows = run.prepare()["train"]
    rows = []
    for source in (stage_rows, model_rows):
        for stage, what, function, amount, unit in source(run, windows):
            with console.status(f"{stage}: {what}"):
                value, repeats = rate(function, amount)
            rows.append({"stage": stage, "what": what, "value": value, "unit": unit, "repeats": repeats})

    with console.status("recordings: HHAR"):
        rows += recording_rows(run.profile.name)

    # Kilobytes on Linux, bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    table = Table(title=f"{run.profile.name} profile, {machine}, torch {torch.__version__}, peak {peak:.1f} GB")
    for column in ("stage", "what", "rate", "unit"):
        table.add_column(column, justify="right" if column == "rate" else "left")
    for row in rows:
        table.add_row(row["stage"], row["what"], f"{row['value']:.3g}", row["unit"])
    seconds = whole_stages(run)
    for stage, value in seconds.items():
        table.add_row(stage, "the whole stage, when it was made", f"{value:.0f}", "s")
    console.print(table)

    result = {
        "profile": run.profile.name,
        "machine": machine,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "peak_gb": peak,
        "rates": rows,
        "stage_seconds": seconds,
    }
    with files.atomic(run.folder / "benchmark.json") as temporary:
        temporary.write_text(json.dumps(result, indent=1), encoding="utf-8")
    console.print(f"Saved as {(run.folder / 'benchmark.json').relative_to(files.root())}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
