"""Small controls for the chapters: choose, click, and see a figure or an answer change.

- ``explore(windows)``: pick a person, an activity and a moment, and see the window taken apart.
- ``confusion(report)``: pick a system and a person, see who was taken for what.
- ``ask(model, processor, windows)``: pick a window, type a question, read the answer beside what was measured.
- ``shade(window)``: the stretch of a window that proves a sentence, for figures.

A built page shows a control as it was left and computes nothing: every chapter has a static figure beneath.
They need ipywidgets, which comes with the extras ``book`` and ``colab``.
"""

from dataclasses import replace

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np

from . import asking, captions, plots, questions, recordings, signals

EVERYBODY = "everybody"


def of_subject(report, subject):
    """A report of one person's windows: names and predictions are cut, intervals are not made anew.

    Parameters
    ----------
    report : evaluation.Report
    subject : str
        One of ``report.subjects``, or ``"everybody"``.

    Returns
    -------
    evaluation.Report
    """
    if subject == EVERYBODY:
        return report
    rows = np.flatnonzero(np.asarray(report.subjects) == subject)
    cut = lambda values: [values[row] for row in rows]
    return replace(
        report,
        true=cut(report.true),
        subjects=cut(report.subjects),
        systems=[replace(system, predicted=cut(system.predicted)) for system in report.systems],
        examples=cut(report.examples) if report.examples else [],
    )


def shade(facts, steps=1):
    """Seconds from the strongest impact to ``steps`` steps later, or earlier where the window ends.

    Parameters
    ----------
    facts : captions.Facts
        From :func:`captions.measure`.
    steps : int

    Returns
    -------
    list of (start, end), seconds
        Without a step rhythm, the moment of the impact alone.
    """
    if facts["cadence"].value is None:
        return [facts["impact"].interval]
    time, length = facts["impact_time"].value, steps / facts["cadence"].value
    return [(time, time + length) if time + length <= captions.SECONDS else (time - length, time)]


def confusion(report):
    """Confusion matrix of a system, for everybody or for one person.

    Parameters
    ----------
    report : evaluation.Report

    Returns
    -------
    ipywidgets.Widget
    """
    system = ipywidgets.Dropdown(options=[one.name for one in report.systems], description="system")
    subject = ipywidgets.Dropdown(options=[EVERYBODY, *sorted(set(report.subjects))], description="person")

    def draw(system, subject):
        ax = plt.subplots(figsize=(6.2, 4.6), layout="constrained")[1]
        plots.confusion(of_subject(report, subject), system, ax)
        ax.set_title(f"{system}, {subject}")
        plt.show()

    figure = ipywidgets.interactive_output(draw, {"system": system, "subject": subject})
    return ipywidgets.VBox([ipywidgets.HBox([system, subject]), figure])


SHOWN = (
    "acceleration size standard deviation",
    "vertical share",
    "tilt of x",
    "tilt change",
    "dominant frequency",
    "rhythm",
    "regularity",
    "spectral entropy",
    "net turn about the vertical",
)


def anatomy(imu, names=SHOWN):
    """One window taken apart, with some of its named features: see :func:`plots.anatomy`."""
    values = signals.describe_windows(np.asarray(imu)[None], names).iloc[0]
    return plots.anatomy(imu, {name: (values[name], signals.FEATURES[name].unit) for name in names})


def _known(windows):
    """Activities that occur among windows, in the book's order."""
    found = set(windows["activity"])
    return [name for name in recordings.ACTIVITIES if name in found]


def explore(windows):
    """Pick a person, an activity and a moment, and see the window taken apart.

    Parameters
    ----------
    windows : datasets.Dataset
        With ``imu``, ``activity``, ``subject`` and ``start``.

    Returns
    -------
    ipywidgets.Widget
    """
    imu, subjects, activities = signals.to_array(windows), np.array(windows["subject"]), np.array(windows["activity"])
    starts = np.array(windows["start"])
    subject = ipywidgets.Dropdown(options=sorted(set(subjects)), description="person")
    activity = ipywidgets.Dropdown(options=_known(windows), description="activity")
    moment = ipywidgets.SelectionSlider(options=[("-", 0)], description="second", continuous_update=False)

    def offer(_=None):
        rows = np.flatnonzero((subjects == subject.value) & (activities == activity.value))
        moment.options = [(f"{starts[row]:.0f}", int(row)) for row in rows] or [("none", -1)]

    def draw(row):
        if row < 0:
            print("This person has no window of this activity.")
            return
        anatomy(imu[row])
        plt.show()

    offer()
    for control in (subject, activity):
        control.observe(offer, "value")
    figure = ipywidgets.interactive_output(draw, {"row": moment})
    return ipywidgets.VBox([ipywidgets.HBox([subject, activity, moment]), figure])


def ask(model, processor, windows, question=questions.RECOGNITION_QUESTION):
    """A window, a question, and on a click the answer with the signal that it is about.

    Parameters
    ----------
    model : LlasaForConditionalGeneration
    processor : LlasaProcessor
    windows : datasets.Dataset
        With ``imu``, ``activity`` and ``subject``.
    question : str
        What stands in the field to begin with.

    Returns
    -------
    ipywidgets.Widget
    """
    sessions, activities = signals.calibrate(windows, placement=windows["placement"]), _known(windows)
    row = ipywidgets.IntSlider(min=0, max=len(sessions) - 1, description="window", continuous_update=False)
    field = ipywidgets.Text(value=question, description="question")
    button = ipywidgets.Button(description="Ask", button_style="primary")
    output = ipywidgets.Output()

    def answer(_=None):
        chosen = windows[row.value]
        reply = asking.ask_windows(model, processor, sessions[row.value], field.value, activities)[0]
        with output:
            output.clear_output(wait=True)
            print(f"{reply.told()}\nmeasured: {reply.evidence}\nthe sensor alone says: {reply.shares_text()}")
            print(f"label: {chosen['activity']} ({chosen['subject']})")
            plots.window(reply.imu, shade=shade(captions.measure(reply.imu)))
            plt.show()

    button.on_click(answer)
    answer()
    return ipywidgets.VBox([row, ipywidgets.HBox([field, button]), output])
