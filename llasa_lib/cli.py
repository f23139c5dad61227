"""The ``llasa`` command: one verb per stage, and ``ask``.

A mistake of the user ends in one sentence on standard error and exit code 2; a defect of the library keeps its
traceback.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .errors import LlasaError

app = typer.Typer(
    help="Teach a language model to understand a wearable sensor, stage by stage, and ask it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(soft_wrap=True)  # a path that is broken over two lines cannot be copied

ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        help="smoke, cpu, colab, paper, or a YAML file. Default: LLASA_PROFILE, else by machine.",
    ),
]


def _pipeline(profile):
    # Imported here: torch and transformers take seconds, and `llasa --help` should not.
    from .pipeline import Pipeline

    return Pipeline(profile)


@app.command()
def prepare(profile: ProfileOption = None):
    """Stage 1: recordings -> windows in SI units, split by subject."""
    for name, split in _pipeline(profile).prepare().items():
        console.print(f"{name}: {len(split)} windows of {len(set(split['subject']))} subjects")


@app.command()
def pretrain(profile: ProfileOption = None):
    """Stage 2: windows without labels -> LIMU-BERT."""
    run = _pipeline(profile)
    last = run.history("pretrain")[-1]
    console.print(f"LIMU-BERT: {run.folder / 'pretrain'}, masked error {last['loss']:.4f} after {last['step']} steps")


@app.command()
def caption(profile: ProfileOption = None):
    """Stage 3: windows -> captions and questions."""
    corpus = _pipeline(profile).caption()["train"]
    console.print(f"{len(corpus)} captions, {sum(map(len, corpus['questions']))} questions. The first:")
    console.print(corpus[0]["caption"])


@app.command()
def align(profile: ProfileOption = None):
    """Stage 4: projector in front of the frozen language model."""
    run = _pipeline(profile)
    last = run.history("align")[-1]
    console.print(f"aligned model: {run.folder / 'align'}, loss {last['loss']:.3f} after {last['step']} steps")


@app.command()
def tune(profile: ProfileOption = None):
    """Stage 5: LoRA on question-answer pairs."""
    run = _pipeline(profile)
    last = run.history("tune")[-1]
    console.print(f"adapter: {run.folder / 'tune'}, loss {last['loss']:.3f} after {last['step']} steps")


@app.command()
def evaluate(profile: ProfileOption = None):
    """Stage 6: the test on people the model never saw."""
    console.print(str(_pipeline(profile).evaluate()), highlight=False)


@app.command()
def run(profile: ProfileOption = None):
    """All stages in order; what is already made is loaded."""
    console.print(str(_pipeline(profile).run()), highlight=False)


@app.command()
def ask(
    file: Annotated[
        Path, typer.Argument(help="CSV with time (s), acceleration x y z (m/s^2), gyroscope x y z (rad/s).")
    ],
    question: Annotated[
        str, typer.Argument(help="For example: What is the person doing?")
    ] = "What is the person doing?",
    start: Annotated[float, typer.Option(help="Second of the recording to begin at.")] = 0.0,
    windows: Annotated[int, typer.Option(min=1, help="How many windows of six seconds to ask about.")] = 1,
    tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 48,
    profile: ProfileOption = None,
):
    """Ask the tuned model about a recording of your own."""
    from . import asking

    with console.status("reading the recording and the model"):
        replies = asking.ask(file, question, start=start, windows=windows, max_new_tokens=tokens, profile=profile)
    for reply in replies:
        # A bracket in a question or an answer is text, not rich's markup.
        console.print(f"\n[bold]{reply.start:.1f} to {reply.end:.1f} s[/bold]  {escape(question)}")
        console.print(f"  {reply.answer}", style="green", highlight=False, markup=False)
        table = Table(show_header=False, box=None, padding=(0, 2))
        table.add_row("measured in the signal", reply.evidence)
        table.add_row("probability of each activity", reply.shares_text())
        console.print(table)


def main():
    """Run the command line; a :class:`LlasaError` becomes one sentence and exit code 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        app(standalone_mode=True)
    except LlasaError as error:
        print(f"llasa: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("llasa: stopped. Run the same command again to go on from the last checkpoint.", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.errno != 28:
            raise
        print("llasa: the disk is full. Free some space and run the same command again.", file=sys.stderr)
        sys.exit(2)
