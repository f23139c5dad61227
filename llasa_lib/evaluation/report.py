"""A report: scores with intervals, as a table, a figure and a JSON file."""

import dataclasses
from dataclasses import dataclass, field

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from .. import files
from ..errors import ArtifactError

UNCLEAR = "unclear"


def macro_f1(true, predicted):
    """Mean F1 over the activities that occur in ``true``.

    NOTE: scikit-learn averages over every name in either list; an absent class, or "unclear", would then pull the mean
    down as if it were a seventh activity.
    """
    return float(f1_score(true, predicted, labels=sorted(set(true)), average="macro", zero_division=0))


def bootstrap_interval(true, predicted, subjects, draws=2000, seed=0, level=0.95):
    """Percentile interval of macro-F1 by resampling *subjects*.

    Windows of one person resemble each other, so a bootstrap over windows would claim too much.

    Returns
    -------
    (float, float)
    """
    values = _macro_f1_of(_draw_people(_counts(true, predicted, subjects), draws, seed))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _counts(true, predicted, subjects):
    """Confusion matrices (people, K, K + 1) of the K activities that occur; the last column is for any other name."""
    names, rows = np.unique(true, return_inverse=True)
    people, persons = np.unique(subjects, return_inverse=True)
    columns = {name: n for n, name in enumerate(names)}
    counts = np.zeros((len(people), len(names), len(names) + 1), dtype=int)
    np.add.at(counts, (persons, rows, [columns.get(name, len(names)) for name in predicted]), 1)
    return counts


def _draw_people(counts, draws, seed):
    """Confusion matrices (draws, K, K + 1) of as many people as there are, drawn with replacement."""
    people = len(counts)
    drawn = np.random.default_rng(seed).integers(people, size=(draws, people))
    times = np.stack([np.bincount(row, minlength=people) for row in drawn])  # (draws, people)
    return np.tensordot(times, counts, axes=1)


def _macro_f1_of(counts):
    """:func:`macro_f1` of each of D confusion matrices: (D, K, K + 1) -> (D,)."""
    hits, there, said = np.diagonal(counts, axis1=1, axis2=2), counts.sum(2), counts[:, :, :-1].sum(1)
    return (2 * hits / np.maximum(there + said, 1)).sum(1, where=there > 0) / (there > 0).sum(1)


@dataclass
class System:
    """One row of the report: a way to name the activity, and how well it did."""

    name: str
    kind: str  # "model", "control" or "baseline"
    accuracy: float
    macro_f1: float
    interval: tuple[float, float]
    unclear: float
    predicted: list[str] = field(repr=False)

    @classmethod
    def score(cls, name, kind, true, predicted, subjects, draws, seed=0):
        """Score one system's predictions."""
        return cls(
            name=name,
            kind=kind,
            accuracy=float(accuracy_score(true, predicted)),
            macro_f1=macro_f1(true, predicted),
            interval=bootstrap_interval(true, predicted, subjects, draws=draws, seed=seed),
            unclear=float(np.mean(np.asarray(predicted) == UNCLEAR)),
            predicted=list(predicted),
        )


@dataclass
class Report:
    """The test on unseen subjects.

    ``print(report)`` gives the table, :meth:`plot` the figure, :meth:`save` and :meth:`load` a JSON file. ``examples``
    holds the model's answer to every window, and ``scores``, the log-probabilities of the activities' sentences.
    """

    profile: str
    true: list[str] = field(repr=False)
    subjects: list[str] = field(repr=False)
    systems: list[System]
    examples: list[dict] = field(default_factory=list, repr=False)

    def __getitem__(self, name):
        for system in self.systems:
            if system.name == name:
                return system
        raise KeyError(f"{name!r}: the report has {[system.name for system in self.systems]}")

    @property
    def activities(self):
        """Activities in the test set, in a fixed order."""
        return sorted(set(self.true))

    def __str__(self):
        head = f"{len(self.true)} windows of {len(set(self.subjects))} unseen subjects, profile {self.profile}"
        width = max(len(s.name) for s in self.systems)
        lines = [head, f"{'system':{width}}  accuracy  macro-F1  95 % interval  unclear"]
        for s in self.systems:
            lines.append(
                f"{s.name:{width}}  {s.accuracy:8.3f}  {s.macro_f1:8.3f}  {s.interval[0]:.3f}-{s.interval[1]:.3f}"
                f"    {s.unclear:6.1%}"
            )
        return "\n".join(lines)

    def confusion(self, name):
        """Confusion matrix of one system: rows true, columns predicted, the last column "unclear"."""
        labels = [*self.activities, UNCLEAR]
        return confusion_matrix(self.true, self[name].predicted, labels=labels)[:-1], labels

    def per_subject(self, name):
        """{subject: accuracy} of one system."""
        right = np.asarray(self.true) == np.asarray(self[name].predicted)
        subjects = np.asarray(self.subjects)
        return {str(s): float(right[subjects == s].mean()) for s in np.unique(subjects)}

    def plot(self, ax=None):
        """Macro-F1 of every system with its interval; model, controls and baselines in three colours."""
        import matplotlib.pyplot as plt
        import seaborn as sns

        ax = ax or plt.subplots(figsize=(7, 0.45 * len(self.systems) + 1))[1]
        palette = dict(zip(("model", "control", "baseline"), sns.color_palette("colorblind", 3), strict=True))
        for row, s in enumerate(reversed(self.systems)):
            ax.plot(s.interval, [row, row], color=palette[s.kind], linewidth=2)
            ax.plot(s.macro_f1, row, "o", color=palette[s.kind])
        ax.set_yticks(range(len(self.systems)), [s.name for s in reversed(self.systems)])
        ax.set(xlim=(0, 1.02), xlabel="macro-F1 on unseen subjects, 95 % interval over subjects")
        handles = [plt.Line2D([], [], color=color, marker="o", label=kind) for kind, color in palette.items()]
        ax.legend(handles=handles, loc="lower left")
        return ax

    def save(self, path):
        """Write the report as JSON."""
        files.write_json(dataclasses.asdict(self), path)

    @classmethod
    def load(cls, path):
        """Read a report that :meth:`save` wrote."""
        try:
            return files.read_json(path, cls)
        except ArtifactError as error:
            raise ArtifactError(f"{path} is not a report ({error}). Make it again with: llasa evaluate") from error
