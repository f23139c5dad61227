"""Figures of the book: one look, colours that everybody can tell apart, units on every axis.

Every function draws into an axis it is given, or makes one, and returns it; none of them computes a score.
"""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from . import signals
from .recordings import ACTIVITIES, TRANSITIONS, stretches
from .timeline import CHANGING, UNKNOWN

COLOURS = _COLOURS = sns.color_palette("colorblind", 10)
AXIS_COLOURS = {"x": _COLOURS[0], "y": _COLOURS[1], "z": _COLOURS[2]}
ACTIVITY_COLOURS = dict(zip(ACTIVITIES, [_COLOURS[n] for n in (0, 1, 3, 2, 4, 5, 8, 9)], strict=True))


def use_style():
    """The book's look: light grid, readable text, figures that fit a page."""
    sns.set_theme(style="whitegrid", palette="colorblind", context="notebook")
    plt.rcParams.update({"figure.figsize": (8, 3.2), "figure.dpi": 100, "axes.titlesize": "medium"})


def window(imu, axes=None, rate=signals.RATE, shade=()):
    """Acceleration above, rotation below, over the seconds of one window.

    Parameters
    ----------
    imu : (T, 6) array, m/s^2 and rad/s
    axes : pair of matplotlib axes, optional
    shade : sequence of (start, end), seconds
        Stretches to put a grey band behind.

    Returns
    -------
    array of two axes
    """
    imu = np.asarray(imu)
    if axes is None:
        axes = plt.subplots(2, 1, sharex=True, figsize=(8, 4.2), layout="constrained")[1]
    seconds = np.arange(len(imu)) / rate
    for ax, first, label in zip(axes, (0, 3), ("acceleration (m/s²)", "rotation (rad/s)"), strict=True):
        for offset, (name, colour) in enumerate(AXIS_COLOURS.items()):
            ax.plot(seconds, imu[:, first + offset], color=colour, label=name, linewidth=1.4)
        for start, end in shade:
            ax.axvspan(start, end, color="0.85", zorder=0)
        ax.set_ylabel(label)
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(low, high + 0.25 * (high - low))  # room for the legend, which must not hide a peak
    axes[0].legend(ncols=3, loc="upper right", fontsize="small", borderpad=0.2)
    axes[1].set_xlabel("time (s)")
    return np.asarray(axes)


def anatomy(imu, features, axes=None, rate=signals.RATE):
    """A window taken apart: acceleration with its gravity, rotation, the rhythm of its size, and some features.

    Parameters
    ----------
    imu : (T, 6) array, m/s^2 and rad/s
    features : dict of str to (value, unit)
        What to write beside it, for example of :func:`signals.describe_windows`.
    axes : dict of matplotlib axes, optional

    Returns
    -------
    dict of matplotlib axes: ``acceleration``, ``rotation``, ``spectrum``, ``features``
    """
    imu = np.asarray(imu)
    layout = [["acceleration", "spectrum"], ["rotation", "features"]]
    axes = axes or plt.subplot_mosaic(layout, figsize=(10, 4.6), width_ratios=(3, 2), layout="constrained")[1]
    window(imu, (axes["acceleration"], axes["rotation"]), rate)
    gravity = signals.split_gravity(imu[:, :3], rate)[0]
    for axis, colour in enumerate(AXIS_COLOURS.values()):
        axes["acceleration"].plot(np.arange(len(imu)) / rate, gravity[:, axis], "--", color=colour, linewidth=1)
    size = np.linalg.norm(imu[:, :3], axis=1)
    amplitude = 2 * np.abs(np.fft.rfft(size - size.mean())) / len(size)
    axes["spectrum"].stem(np.fft.rfftfreq(len(size), 1 / rate), amplitude, basefmt=" ", markerfmt=".")
    top = max(0.2, 1.1 * amplitude.max())  # noise at rest must not look like motion
    axes["spectrum"].set(xlabel="frequency (Hz)", ylabel="amplitude (m/s²)", title="rhythm of |a|", ylim=(0, top))
    axes["features"].set_axis_off()
    text = "\n".join(f"{name:<36}{value:7.2f} {unit}" for name, (value, unit) in features.items())
    axes["features"].text(0, 1, text, family="monospace", fontsize=8, va="top", transform=axes["features"].transAxes)
    return axes


def loss(history, ax=None, label=None, unit="loss"):
    """Loss over training steps, from :meth:`Pipeline.history`."""
    ax = ax or plt.subplots(layout="constrained")[1]
    ax.plot([row["step"] for row in history], [row["loss"] for row in history], marker=".", label=label)
    ax.set(xlabel="training step", ylabel=unit)
    return ax


def confusion(report, system, ax=None):
    """Confusion matrix of one system of a report, in windows."""
    counts, labels = report.confusion(system)
    if not counts[:, -1].any():
        counts, labels = counts[:, :-1], labels[:-1]
    ax = ax or plt.subplots(figsize=(6.2, 4.6), layout="constrained")[1]
    sns.heatmap(
        counts, annot=True, fmt="d", cmap="cividis", cbar_kws={"label": "windows"}, ax=ax,
        xticklabels=labels, yticklabels=report.activities,
    )  # fmt: skip
    ax.set(xlabel="predicted", ylabel="true")
    plt.setp(ax.get_xticklabels(), rotation=35, ha="right")
    return ax


def shares(values, activities, ax=None):
    """How a model shares its probability among the activities' sentences, see :func:`asking.shares`."""
    ax = ax or plt.subplots(figsize=(6, 2.6), layout="constrained")[1]
    ax.barh(list(activities), list(values), color=[ACTIVITY_COLOURS.get(name, "0.6") for name in activities])
    ax.set(xlim=(0, 1), xlabel="share of probability among these sentences")
    ax.invert_yaxis()
    return ax


def timeline(recording, found, axes=None):
    """A whole recording: the size of acceleration, what somebody did meanwhile, and how sure that is.

    Parameters
    ----------
    recording : Recording
    found : timeline.Timeline
        Of :func:`asking.recognise`.

    Returns
    -------
    three matplotlib axes
        What is unlike anything taught is hatched; changes of posture share a lane.
    """
    lane = lambda name: CHANGING if name in TRANSITIONS else name
    said = {lane(bout.activity) for bout in found.bouts}
    lanes = [name for name in (*ACTIVITIES, "keeping still", CHANGING, UNKNOWN) if name in said]
    lanes += sorted(said - set(lanes))
    if axes is None:
        size = {"figsize": (10, 3.4 + 0.3 * len(lanes)), "height_ratios": (3, 0.7 + 0.5 * len(lanes), 1.5)}
        axes = plt.subplots(3, 1, sharex=True, layout="constrained", **size)[1]
    unit, name = next((pair for pair in ((3600, "h"), (60, "min")) if recording.duration >= 2 * pair[0]), (1, "s"))
    time, size = (recording.time - recording.time[0]) / unit, np.linalg.norm(recording.acceleration, axis=1)
    step = max(len(size) // 2000, 1)
    for piece in stretches(recording.time):  # thin enough to draw, and no peak is lost
        starts = np.arange(piece.start, piece.stop, step)
        low, high = (extreme.reduceat(size[: piece.stop], starts) for extreme in (np.minimum, np.maximum))
        axes[0].plot(np.repeat(time[starts], 2), np.column_stack([low, high]).ravel(), color="0.25", linewidth=0.6)
    for activity in found.seconds():  # all bouts of one activity at once: a day has thousands
        bouts = [bout for bout in found.bouts if bout.activity == activity]
        spans = [(bout.start / unit, bout.seconds / unit) for bout in bouts]
        colour, hatch = ACTIVITY_COLOURS.get(activity, "0.6"), None
        if not bouts[0].known:
            colour, hatch = "white", "////"
        style = {"facecolor": colour, "edgecolor": "0.3" if hatch else colour, "hatch": hatch}
        whole = axes[0].get_xaxis_transform()
        axes[0].broken_barh(spans, (0, 1), transform=whole, alpha=0.3, linewidth=0, zorder=0, **style)
        axes[1].broken_barh(spans, (lanes.index(lane(activity)) - 0.4, 0.8), **style)
    ends = [np.array([getattr(bout, what) for bout in found.bouts]) for what in ("probability", "start", "end")]
    axes[2].hlines(ends[0], ends[1] / unit, ends[2] / unit, color="0.25", linewidth=2)
    middle = [(row.start + row.end) / 2 / unit for row in found]
    axes[2].plot(middle, [row.probability for row in found], ".", color=_COLOURS[0], markersize=3, alpha=0.5)
    axes[1].set_yticks(range(len(lanes)), lanes)
    axes[1].set_ylim(len(lanes) - 0.4, -0.6)
    axes[0].set(ylabel="|acceleration|\n(m/s²)", xlim=(0, max(recording.duration, 1e-3) / unit))
    axes[2].set(ylabel="probability", ylim=(0, 1.05), xlabel=f"time ({name})")
    return axes


TOKEN_COLOURS = {"sensor": _COLOURS[0], "prompt": (0.93, 0.93, 0.93), "learned": _COLOURS[1]}


def printable(text):
    """A token as a figure can show it: line breaks named, other scripts escaped, nothing read as a formula."""
    escaped = "".join(c if c.isprintable() and ord(c) < 0x250 else ascii(c)[1:-1] for c in text)
    return escaped.replace("$", r"\$")


def tokens(pieces, kinds, columns=98):
    """A text cut into tokens, in boxes coloured by kind.

    Parameters
    ----------
    pieces : list of str
        The tokens' texts.
    kinds : list of str
        ``"sensor"``, ``"prompt"`` or ``"learned"`` for each of them.
    columns : int
        Characters per line.
    """
    shown = [printable(piece.strip(" ")) or " " for piece in pieces]
    places, row, column = [], 0, 0
    for piece in shown:
        if column + len(piece) > columns:
            row, column = row + 1, 0
        places.append((column, -row))
        column += len(piece) + 2
    ax = plt.subplots(figsize=(9.5, 0.3 * row + 0.9), layout="constrained")[1]
    frames = {kind: {"facecolor": (*colour, 0.45), "edgecolor": "0.5"} for kind, colour in TOKEN_COLOURS.items()}
    for place, piece, kind in zip(places, shown, kinds, strict=True):
        box = {**frames[kind], "boxstyle": "round,pad=0.2"}
        ax.text(*place, piece, family="monospace", fontsize=9, va="center", bbox=box)
    ax.set(xlim=(-1, columns + 2), ylim=(-row - 0.7, 0.7))
    ax.set_axis_off()
    handles = [plt.Rectangle((0, 0), 1, 1, label=kind, **frames[kind]) for kind in dict.fromkeys(kinds)]
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3, frameon=False)
    return ax


def soft_tokens(cosines, words, names, axes=None, titles=("before", "after")):
    """Soft tokens beside the real words that point most nearly their way.

    Parameters
    ----------
    cosines : (panels, N) array
        Cosine similarity with the nearest word.
    words : list of panels of N str
        Those words.
    names : list of N str
        What each token stands for.
    """
    cosines = np.asarray(cosines)
    if axes is None:
        size = (3.6 * len(cosines) + 1, 0.32 * len(names) + 1.1)
        axes = plt.subplots(1, len(cosines), sharex=True, sharey=True, figsize=size, layout="constrained")[1]
    for ax, values, near, title, colour in zip(axes, cosines, words, titles, _COLOURS, strict=False):
        ax.barh(range(len(names)), values, color=(*colour, 0.5))
        for row, (value, word) in enumerate(zip(values, near, strict=True)):
            ax.text(value + 0.01, row, printable(word), va="center", fontsize="small", family="monospace")
        ax.set_yticks(range(len(names)), names)
        ax.set(title=title, xlabel="cosine with the nearest word", xlim=(0, max(0.3, 2.1 * cosines.max())))
    axes[0].invert_yaxis()
    return axes


def reply(answered, truth=None):
    """A window, what the model answered about it, and how it shares its probability among the activities.

    Parameters
    ----------
    answered : asking.Reply
    truth : str, optional
        The label.

    Returns
    -------
    dict of matplotlib axes: ``acceleration``, ``rotation``, ``shares``
    """
    layout = [["acceleration", "shares"], ["rotation", "shares"]]
    axes = plt.subplot_mosaic(layout, figsize=(10, 3.8), width_ratios=(3, 2), layout="constrained")[1]
    window(answered.imu, (axes["acceleration"], axes["rotation"]))
    axes["acceleration"].sharex(axes["rotation"])
    axes["acceleration"].set_title(f"“{printable(answered.answer[:70])}”", loc="left", style="italic")
    shares(answered.shares.values(), answered.shares, axes["shares"])
    axes["shares"].set(xlabel="share of probability", title=f"label: {truth}" if truth else "")
    return axes


def embedding_map(points, groups, ax=None, colours=None, title=""):
    """Scatter of (N, 2) points, coloured by group."""
    ax = ax or plt.subplots(figsize=(5, 4), layout="constrained")[1]
    groups = np.asarray(groups)
    names = [name for name in ACTIVITIES if name in groups] or sorted(set(groups))
    colours = colours or dict(zip(names, sns.color_palette("husl", len(names)), strict=True))
    for name in names:
        inside = groups == name
        ax.scatter(*points[inside].T, s=8, color=colours[name], label=name, alpha=0.7)
    ax.set(xlabel="first component", ylabel="second component", title=title)
    return ax


# --- chapter 3: words and the samples that prove them -------------------------------------------------------------

_PANELS = {
    "gravity": ("gravity", "gravity axis", "up", "tilt", "turn", "transition"),
    "spread": ("spread", "level"),
    "trend": ("trend", "change", "roughest third"),
    "stillness": ("still seconds",),
    "rhythm": ("cadence", "rhythm", "symmetry"),
    "impact": ("impact", "impact time", "impacts"),
    "axis": ("axis spread", "most varied axis", "frequency"),
    "rotation": ("mean rotation", "largest rotation", "main rotation axis"),
}


def proof(imu, text, claims, rate=signals.RATE):
    """A text whose words light up the samples that prove them, or prove them wrong.

    Parameters
    ----------
    imu : (T, 6) array, m/s^2 and rad/s
    text : str
    claims : list of verification.Claim
        Of :func:`verification.verify` on this text and this window.

    Returns
    -------
    matplotlib figure
        The text on top, every claim in a colour of its own; below, one panel per colour with the evidence.
        A claim that does not hold has a dashed frame, one that cannot be decided a dotted one; the panel says so.
    """
    groups = {}
    for claim in claims:
        name = next((panel for panel, quantities in _PANELS.items() if claim.quantity in quantities), None)
        if name:
            groups.setdefault(name, []).append(claim)
    colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(groups)}
    figure, axes = plt.subplots(
        1 + len(groups), 1, figsize=(8, 1.3 + 1.35 * len(groups)), layout="constrained",
        height_ratios=[0.7] + [1] * len(groups),
    )  # fmt: skip
    axes = np.atleast_1d(axes)
    _lit_text(axes[0], text, [(claim, colours[name]) for name in groups for claim in groups[name]])
    for ax, (name, members) in zip(axes[1:], groups.items(), strict=True):
        _evidence(ax, name, members, np.asarray(imu, dtype=float), rate, colours[name])
    for ax in axes[1:-1]:
        ax.tick_params(labelbottom=False)
    axes[-1].set_xlabel("time (s)")
    return figure


def _lit_text(ax, text, lit, columns=74):
    """Write a text word by word in a fixed-width font, so that the place of a character is known."""
    ax.set_axis_off()
    ax.set(xlim=(0, columns), ylim=(-2.5, 0.6))
    row = column = place = 0
    for word in text.split(" "):
        if column + len(word) > columns:
            row, column = row + 1, 0
        claim, colour = next(((c, k) for c, k in lit if c.start < place + len(word) and place < c.end), (None, None))
        style = {}
        if claim and claim.holds:
            style["bbox"] = {"facecolor": (*colour, 0.3), "edgecolor": colour, "pad": 1.5}
        elif claim:
            line = ":" if claim.holds is None else "--"
            style["bbox"] = {"facecolor": "white", "edgecolor": "black", "linestyle": line, "pad": 1.5}
        ax.text(column, -row, word, family="monospace", fontsize=11, va="center", **style)
        column, place = column + len(word) + 1, place + len(word) + 1


def _evidence(ax, name, claims, imu, rate, colour):
    """One panel: the signal in grey, what decides the claims in colour."""
    rotation = name == "rotation"
    one_axis = name in ("gravity", "axis") and [c.channels[0] for c in claims if len(c.channels) == 1]
    signal = imu[:, one_axis[0]] if one_axis else np.linalg.norm(imu[:, 3:] if rotation else imu[:, :3], axis=1)
    rotation = rotation or (bool(one_axis) and one_axis[0] > 2)
    what = "rotation" if rotation else "acceleration"
    what = f"{what} {'xyz'[one_axis[0] % 3]}" if one_axis else f"|{what}|"
    seconds, mean, spread = np.arange(len(signal)) / rate, signal.mean(), signal.std()
    ax.plot(seconds, signal, color="0.6", linewidth=1.2)
    said = {c.quantity for c in claims}
    if name == "gravity" or "mean rotation" in said:
        ax.axhline(mean, color=colour, linewidth=2.5)
    elif said & {"impact", "impact time", "largest rotation"}:
        ax.plot(seconds[signal.argmax()], signal.max(), "o", color=colour, markersize=9)
    elif said & {"spread", "level", "axis spread", "most varied axis"}:
        ax.axhspan(mean - spread, mean + spread, color=colour, alpha=0.35)
    elif name in ("trend", "stillness"):
        pieces = np.array_split(np.arange(len(signal)), 2 if name == "trend" else len(signal) // round(rate))
        for piece in pieces:
            middle, half = signal[piece].mean(), signal[piece].std()
            ax.fill_between(seconds[piece], middle - half, middle + half, color=colour, alpha=0.45)
    elif steps := [c.claimed for c in claims if c.quantity == "cadence" and _is_rate(c.claimed)]:
        step = 1 / steps[0]
        starts = np.arange(0, step, 0.25 / rate)
        height = [np.interp(np.arange(s, seconds[-1], step), seconds, signal).mean() for s in starts]
        for time in np.arange(starts[int(np.argmax(height))], seconds[-1], step):
            ax.axvline(time, color=colour, linewidth=2)
    verdict = " · ".join(_verdict(claim) for claim in claims)
    ax.set_title(verdict, loc="left", fontsize="small", color="black")
    ax.set_ylabel(f"{what}\n({'rad/s' if rotation else 'm/s²'})", fontsize="x-small")
    ax.set_xlim(0, seconds[-1])
    low, high = ax.get_ylim()
    room = max(0.0, (0.5 if rotation else 4.0) - (high - low)) / 2  # noise at rest must not look like motion
    ax.set_ylim(low - room, high + room)


def _is_rate(value):
    """Whether a claim can be drawn as steps: a language model may say anything."""
    return isinstance(value, float) and 0.3 <= value <= 10


def _verdict(claim):
    claimed = claim.text if isinstance(claim.claimed, float) else f"“{claim.text}”"
    if claim.holds is not False:
        return f"{claimed} {'?' if claim.holds is None else '✓'}"
    truth = f"{claim.measured:.3g}" if isinstance(claim.measured, float) else claim.measured
    return f"{claimed} ✗" + (f" (measured: {truth})" if truth is not None else "")
