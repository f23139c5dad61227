"""The ``llasa`` command: one verb per stage, ``run`` and ``ask``.

A mistake of the user ends in one sentence on standard error and exit code 2; a defect of the library keeps its
traceback.
"""

import contextlib
import errno
import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import files, processes
from .errors import LlasaError, RecordingError

app = typer.Typer(
    help="Teach a language model to understand a wearable sensor, stage by stage, and ask it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# A path that is broken over two lines cannot be copied; of several processes one prints. What files, questions and
# models say is text: neither rich's markup, nor emoji, nor highlighted.
console = Console(soft_wrap=True, quiet=not processes.is_main(), markup=False, emoji=False)

ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        help="smoke, cpu, colab, paper, or a YAML file. Default: LLASA_PROFILE, else cpu.",
    ),
]

FullOption = Annotated[
    bool,
    typer.Option("--full", help="Everything that the profile lists, trained for longer; takes several times as long."),
]


RecordingArgument = Annotated[
    Path, typer.Argument(help="A recording of your own: CSV, zip or folder, as a phone app exported it.")
]

PlacementOption = Annotated[str | None, typer.Option(help="Where the sensor is worn: pocket, waist, wrist, ...")]


def _pipeline(profile):
    # Imported here: torch and transformers take seconds, and `llasa --help` should not.
    from .pipeline import Pipeline

    return Pipeline(profile)


@app.command()
def prepare(
    file: Annotated[
        Path | None, typer.Argument(help="A recording of your own: CSV, zip or folder, as a phone app exported it.")
    ] = None,
    acceleration: Annotated[str | None, typer.Option(help="Its unit: m/s^2, g or mg. Found out by default.")] = None,
    rotation: Annotated[str | None, typer.Option(help="Its unit: rad/s or deg/s.")] = None,
    time: Annotated[str | None, typer.Option(help="Its unit: s, ms, us or ns.")] = None,
    sign: Annotated[
        str | None, typer.Option(help="Where its acceleration points at rest: up (Android) or down (Apple).")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Write what was understood as a CSV in SI units.")] = None,
    profile: ProfileOption = None,
):
    """Stage 1: recordings -> windows in SI units, split by subject. With FILE: how a recording is understood."""
    if file is not None:
        _check_save(file, save)
        _inspect(file, {"acceleration": acceleration, "rotation": rotation, "time": time, "sign": sign}, save)
        return
    if acceleration or rotation or time or sign or save:
        raise RecordingError("Units and --save belong to a recording. Name its file: llasa prepare FILE.")
    for name, split in _pipeline(profile).prepare().items():
        console.print(f"{name}: {len(split)} windows of {len(set(split['subject']))} subjects")


def _check_save(file, save):
    """Refuse, before a long recording is read, to write over it or into it."""
    if save is None:
        return
    files.check_target(save)
    if save.exists() and (save.samefile(file) or file.resolve() in save.resolve().parents):
        raise RecordingError(f"{save} would write over the recording itself. Give another name.")


def _inspect(file, stated, save):
    """Print how a recording is understood, and what can be asked about it."""
    from . import recordings, signals

    found = recordings.inspect(file, **stated)
    console.print(str(found))
    count = len(signals.cut_windows([found.recording], labelled=False)[0])
    console.print(f"{count} window{'s' if count != 1 else ''} of six seconds")
    if save is not None:
        file = recordings.write(found.recording, save)
    elif any(stated.values()):
        # `ask` has to find the units out by itself.
        console.print("Next: the same command with --save own.csv, and then ask about that file.")
        return
    # A dash in front would make it an option.
    name = f"./{file}" if str(file).startswith("-") else str(file)
    console.print(f'Next: llasa ask {shlex.quote(name)} "What is the person doing?"')


@app.command()
def pretrain(profile: ProfileOption = None):
    """Stage 2: windows without labels -> LIMU-BERT, or the profile's variant of it."""
    run = _pipeline(profile)
    last = run.history("pretrain")[-1]
    console.print(f"LIMU-BERT: {run.folder / 'pretrain'}, masked error {last['loss']:.4f} after {last['step']} steps")


@app.command()
def ablate(full: FullOption = False, profile: ProfileOption = None):
    """Beside stage 2: the published network, variants of it, and what labels are worth."""
    _, variants, efficiency = _pipeline(profile).ablate(full)
    console.print("macro-F1 of a linear probe across all but the test subjects:")
    _print_rows([{name: row[name] for name in ("variant", "untrained", "trained")} for row in variants])
    console.print("\nmacro-F1 on test subjects, by share of the labels, mean over draws:")
    _print_rows(_by_share(efficiency))


@app.command()
def caption(profile: ProfileOption = None):
    """Stage 3: windows -> captions and questions."""
    corpus = _pipeline(profile).caption()["train"]
    console.print(f"{len(corpus)} captions, {sum(map(len, corpus['questions']))} questions. The first:")
    console.print(corpus[0]["caption"])


@app.command()
def write(
    journal: Annotated[Path, typer.Argument(help="JSON lines; what is in it already is not paid for again.")],
    kind: Annotated[str, typer.Option(help="caption, narration or questions.")] = "caption",
    model: Annotated[str | None, typer.Option(help="Its name on the server. Default: LLASA_WRITER_MODEL.")] = None,
    windows: Annotated[int | None, typer.Option(min=1, help="Only so many, from the first. Default: all.")] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Tell the writer the activity.")] = False,
    prices: Annotated[
        tuple[float, float] | None, typer.Option(help="Of a million tokens, read and written, in any currency.")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="The most the journal may cost, in that currency.")] = None,
    tokens: Annotated[int | None, typer.Option(help="The most tokens it may cost, read and written.")] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Say what it may cost, and send nothing.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at the same time.")] = 8,
    profile: ProfileOption = None,
):
    """Beside stage 3: a language model behind OPENAI_BASE_URL (key: OPENAI_API_KEY) writes, and is checked."""
    from . import writers

    price = writers.Price(*prices) if prices else None
    limit = writers.Budget(tokens, budget, price)
    split = _pipeline(profile).prepare()["train"]
    split = split.select(range(min(windows or len(split), len(split))))
    if estimate:
        console.print(str(writers.estimate(split, kind, price, labels)))
        return
    server = writers.Server(model)
    written = writers.write(split, journal, server, kind, limit, labels, concurrency=concurrency)
    console.print(str(written))


@app.command()
def align(profile: ProfileOption = None):
    """Stage 4: projector in front of the frozen language model."""
    run = _pipeline(profile)
    last = run.history("align")[-1]
    console.print(f"aligned model: {run.folder / 'align'}, loss {last['loss']:.3f} after {last['step']} steps")


@app.command()
def compare(full: FullOption = False, profile: ProfileOption = None):
    """Beside stage 4: what kinds and numbers of sensor tokens bring and cost, on validation subjects."""
    comparisons, projectors = _pipeline(profile).compare(full)
    console.print("aligned for a while, scored by log-probability:")
    _print_rows(comparisons)
    console.print("\nafter a warm-up alone, scored by the nearest word:")
    _print_rows(projectors)


@app.command()
def tune(profile: ProfileOption = None):
    """Stage 5: LoRA on question-answer pairs."""
    run = _pipeline(profile)
    last = run.history("tune")[-1]
    console.print(f"adapter: {run.folder / 'tune'}, loss {last['loss']:.3f} after {last['step']} steps")


@app.command()
def evaluate(profile: ProfileOption = None):
    """Stage 6: the test on people the model never saw."""
    console.print(str(_pipeline(profile).evaluate()))


@app.command()
def run(profile: ProfileOption = None):
    """All stages in order; what is already made stays."""
    run = _pipeline(profile)
    run.run()
    # Not by way of the report itself: ten seconds of imports, each time a book is built that has not changed.
    console.print((run.folder / "evaluate" / "report.txt").read_text(encoding="utf-8"), end="")


@app.command()
def ask(
    file: RecordingArgument,
    question: Annotated[
        str, typer.Argument(help="For example: What is the person doing?")
    ] = "What is the person doing?",
    start: Annotated[
        float | None, typer.Option(help="Second to begin at: the question is then about six seconds.")
    ] = None,
    windows: Annotated[int, typer.Option(min=1, help="How many windows of six seconds to ask about.")] = 1,
    tokens: Annotated[int, typer.Option(min=1, max=2048, help="Longest answer, in tokens.")] = 48,
    placement: PlacementOption = None,
    profile: ProfileOption = None,
):
    """Ask the tuned model about a recording of your own: six seconds, or the whole ("How long did I walk?")."""
    from . import asking, timeline

    with _reading(file):
        replies = asking.ask(file, question, start, windows, tokens, profile, placement)
    if isinstance(replies, timeline.Answer):
        console.print(str(replies))
        return
    for reply in replies:
        console.print()
        console.print(Text(f"{reply.start:.1f} to {reply.end:.1f} s", style="bold"), question, sep="  ")
        console.print(f"  {reply.told()}", style="yellow" if reply.contradicted else "green")
        table = Table(show_header=False, box=None, padding=(0, 2))
        table.add_row("measured in the signal", reply.evidence)
        table.add_row("the sensor alone says", reply.shares_text())
        if reply.note:
            table.add_row("of the recording", reply.note)
        console.print(table)


@app.command()
def timeline(
    file: RecordingArgument,
    placement: PlacementOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
    figure: Annotated[Path | None, typer.Option(help="Draw it into this file: PNG, PDF or SVG.")] = None,
    profile: ProfileOption = None,
):
    """What somebody did in a recording of your own, and from when to when."""
    from . import asking, recordings

    if figure is not None and figure.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise RecordingError(f"--figure {figure} must end in .png, .pdf or .svg.")
    _check_save(file, figure)
    with _reading(file, quiet=json):
        recording = recordings.read(file)
        found = asking.recognise(recording, placement, profile)
    console.print(found.to_json() if json else str(found), highlight=False)
    if figure is not None:
        from . import plots

        with files.atomic(figure) as path:
            drawn = plots.timeline(recording, found)[0].figure
            drawn.savefig(path, format=figure.suffix[1:].lower())


@contextlib.contextmanager
def _reading(file, quiet=False):
    """Read a recording and ask a model; what is said about the recording is told, on standard error if ``quiet``."""
    with console.status("reading the recording and the model"), warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in noticed:
        if str(warning.message).startswith(str(file)):  # about the recording; the libraries' own help nobody here
            (Console(stderr=True, markup=False) if quiet else console).print(f"beware: {warning.message}")


def _by_share(efficiency):
    """Rows of :func:`encoder.label_efficiency` -> a row per method, a column per share of the labels."""
    found = {}
    for row in efficiency:
        found.setdefault(row["method"], {}).setdefault(f"{row['share']:.0%}", []).append(row["macro_f1"])
    return [
        {"method": method, **{share: sum(values) / len(values) for share, values in shares.items()}}
        for method, shares in found.items()
    ]


def _print_rows(rows):
    """A list of dicts of the same keys as a table."""
    table = Table(box=None, padding=(0, 2))
    for name in rows[0]:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    console.print(table)


def main():
    """Run the command line; a :class:`LlasaError` becomes one sentence and exit code 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # the name of a file may be no text
    try:
        app(standalone_mode=True)
    except LlasaError as error:
        _refuse(error)
    except KeyboardInterrupt:
        print("llasa: stopped. Run the same command again to go on from the last checkpoint.", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            _refuse("the disk is full. Free some space and run the same command again.")
        if error.errno is None:  # not the system's: a library's own
            raise
        _refuse(f"{error.filename or 'a file'}: {error.strerror}. Look at its name and permissions, and try again.")


def _refuse(reason):
    """End with a sentence; what a stranger's file put into it cannot steer the terminal, nor fill it."""
    text = "".join(character if character.isprintable() or character == "\n" else "\ufffd" for character in str(reason))
    print(f"llasa: {text[:2000]}", file=sys.stderr)
    sys.exit(2)
