"""Write the last run's results and one real answer into README.md, between their markers: make readme.

The figures come from the artifacts of the `cpu` profile; nothing is typed by hand.
"""

import re
import sys
from pathlib import Path

from llasa_lib import asking, notebook, questions, signals
from llasa_lib.errors import LlasaError
from llasa_lib.pipeline import Pipeline

README = Path(__file__).resolve().parent.parent / "README.md"
QUESTIONS = (questions.RECOGNITION_QUESTION, "Which measurements support your answer?", "How old is the person?")


def results(run):
    """The report as a Markdown table."""
    report = run.evaluate()
    people, windows = len(set(report.subjects)), len(report.true)
    lines = [
        f"{windows} windows of {people} people that no stage saw; `{run.profile.name}` profile, last `make book`:",
        "",
        "| | accuracy | macro-F1 | 95 % interval over subjects | unparsed |",
        "|---|---|---|---|---|",
    ]
    for system in report.systems:
        low, high = system.interval
        lines.append(
            f"| {system.name} | {system.accuracy:.3f} | {system.macro_f1:.3f} | {low:.3f}-{high:.3f} "
            f"| {system.unclear:.1%} |"
        )
    return "\n".join(lines)


def example(run):
    """One stranger's window, a few questions, and what the tuned model said."""
    windows = run.prepare()
    stranger = notebook.stranger(windows)
    model, processor = run.tune()
    activities = sorted(set(windows["test"]["activity"]))
    sessions = signals.calibrate(windows["test"], placement=windows["test"]["placement"])
    lines = [f"A window of {stranger['subject']} (a test subject), truly *{stranger['activity']}*:", ""]
    for question in QUESTIONS:
        reply = asking.ask_windows(model, processor, sessions[stranger["row"]], question, activities)[0]
        lines.append(f"> **{question}** {reply.answer}  ")
    lines += [
        f"> *Measured by a program, for comparison:* {reply.evidence}",
    ]
    return "\n".join(lines)


def put(text, name, content):
    """Replace what stands between ``<!-- name:begin -->`` and ``<!-- name:end -->``."""
    pattern = rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)"
    return re.sub(pattern, lambda found: f"{found[1]}{content}\n{found[2]}", text, flags=re.DOTALL)


def main():
    run = Pipeline("cpu")
    text = README.read_text(encoding="utf-8")
    README.write_text(put(put(text, "results", results(run)), "example", example(run)), encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except LlasaError as error:
        sys.exit(f"README.md was not changed: {error}")
