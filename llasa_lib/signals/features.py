"""A window as numbers with a name.

- ``FEATURES`` and ``describe_windows``: 64 classical features with unit and formula, for people who want to know what
  a model read. Those marked invariant do not change when the device is turned.
- ``SUMMARY_NAMES`` and ``summarise``: 132 plain statistics, for the baseline and the summary tokens.

All statistics run over time, never across channels.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy

from llasa_lib.errors import RecordingError
from llasa_lib.recordings import CHANNELS
from llasa_lib.signals.gravity import split_gravity

LINES = 19  # spectral lines 1..19 of a 6 s window: 1/6 Hz to 3.2 Hz, the band of human movement
SUMMARY_NAMES = tuple(
    f"{channel} {what}"
    for channel in CHANNELS
    for what in ("mean", "spread", "spread of differences", *(f"line {k}" for k in range(1, LINES + 1)))
)


def summarise(imu):
    """Describe each window by 132 numbers, named in ``SUMMARY_NAMES``.

    Parameters
    ----------
    imu : (N, 120, 6) array, m/s^2 and rad/s.

    Returns
    -------
    (N, 132) float32 array
        Per channel: mean, standard deviation ("spread"), standard deviation of the differences between
        neighbours, and the square root of the magnitude of spectral lines 1 to 19. All statistics run over
        time: one value per channel, never one per time step.
    """
    imu = np.asarray(imu, dtype=np.float64)
    if imu.ndim != 3 or imu.shape[2] != 6 or imu.shape[1] <= 2 * LINES:
        raise RecordingError(f"Windows must have shape (N, 120, 6), not {imu.shape}.")
    lines = np.sqrt(np.abs(np.fft.rfft(imu, axis=1)[:, 1 : LINES + 1]))  # (N, 19, 6)
    plain = np.stack([imu.mean(axis=1), imu.std(axis=1), np.diff(imu, axis=1).std(axis=1)], axis=1)  # (N, 3, 6)
    table = np.concatenate([plain, lines], axis=1)  # (N, 22, 6)
    return table.transpose(0, 2, 1).reshape(len(imu), -1).astype(np.float32)


# --- named features ------------------------------------------------------------------------------


@dataclass
class _Parts:
    """What the features are made of, each calculated once: (N, T) or (N, T, 3) arrays."""

    imu: np.ndarray
    rate: float

    @cached_property
    def acceleration(self):
        return self.imu[..., :3]

    @cached_property
    def rotation(self):
        return self.imu[..., 3:]

    @cached_property
    def size(self):
        return np.linalg.norm(self.acceleration, axis=2)

    @cached_property
    def turning(self):
        return np.linalg.norm(self.rotation, axis=2)

    @cached_property
    def gravity(self):
        return split_gravity(self.acceleration, self.rate)[0]

    @cached_property
    def body(self):
        return self.acceleration - self.gravity

    @cached_property
    def up(self):
        mean = self.gravity.mean(axis=1, keepdims=True)  # (N, 1, 3)
        return _ratio(mean, np.linalg.norm(mean, axis=2, keepdims=True))

    @cached_property
    def vertical(self):
        return (self.body * self.up).sum(axis=2)

    @cached_property
    def horizontal(self):
        return self.body - self.vertical[..., None] * self.up

    @cached_property
    def about_up(self):
        return (self.rotation * self.up).sum(axis=2)

    @cached_property
    def frequencies(self):
        return np.fft.rfftfreq(self.imu.shape[1], 1 / self.rate)[1:]

    @cached_property
    def power(self):
        return _power(self.size)

    @cached_property
    def turning_power(self):
        return _power(self.turning)

    @cached_property
    def rhythm(self):
        """Autocorrelation of |a| at lags of 0.25 to 2 s: (lag in s, height) of its highest point."""
        centred = self.size - self.size.mean(axis=1, keepdims=True)
        length = centred.shape[1]
        spectrum = np.fft.rfft(centred, 2 * length, axis=1)
        correlation = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, :length]
        correlation = _ratio(correlation, correlation[:, :1]) * length / (length - np.arange(length))
        lags = np.arange(round(0.25 * self.rate), min(round(2 * self.rate), length - 1) + 1)
        best = correlation[:, lags].argmax(axis=1)
        return lags[best] / self.rate, correlation[np.arange(len(best)), lags[best]]


def _ratio(over, under):
    """``over / under``, and 0 where there is nothing to divide by: a still window has no rhythm and no skew."""
    under = np.broadcast_to(under, np.broadcast_shapes(np.shape(over), np.shape(under)))
    return np.divide(over, under, out=np.zeros(under.shape), where=np.abs(under) > 1e-9)


def _power(values):
    """Power at each frequency above 0: Hann window, mean removed; all together the variance of the windowed signal."""
    window = np.hanning(values.shape[1])
    centred = (values - values.mean(axis=1, keepdims=True)) * window / np.sqrt((window**2).mean())
    return 2 * np.abs(np.fft.rfft(centred, axis=1)[:, 1:]) ** 2 / values.shape[1] ** 2


def _share(power):
    return _ratio(power, power.sum(axis=1, keepdims=True))


def _dominant(power, frequencies):
    return np.where(power.max(axis=1) > 1e-9, frequencies[power.argmax(axis=1)], 0.0)


def _centroid(power, frequencies):
    return _share(power) @ frequencies


def _spectral_spread(parts):
    away = parts.frequencies - _centroid(parts.power, parts.frequencies)[:, None]
    return np.sqrt((_share(parts.power) * away**2).sum(axis=1))


def _entropy(power):
    share = _share(power)
    logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
    return -(share * logs).sum(axis=1) / np.log2(share.shape[1])


def _band(parts, low, high):
    inside = (parts.frequencies >= low) & (parts.frequencies < high)
    return parts.power[:, inside].sum(axis=1)


def _correlation(one, other):
    one, other = (values - values.mean(axis=1, keepdims=True) for values in (one, other))
    under = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    return _ratio((one * other).sum(axis=1), under)


def _moment(name):
    def of(values):
        flat = values.std(axis=1) < 1e-9
        safe = np.where(flat[:, None], np.arange(values.shape[1]), values)  # a line instead of a division by zero
        return np.where(flat, 0.0, getattr(scipy.stats, name)(safe, axis=1))

    return of


def _tilt_change(parts):
    """Angle between mean gravity of the first and of the last second, degrees."""
    second = round(parts.rate)
    ends = [parts.gravity[:, :second].mean(axis=1), parts.gravity[:, -second:].mean(axis=1)]
    first, last = (_ratio(end, np.linalg.norm(end, axis=1, keepdims=True)) for end in ends)
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(first, last), axis=1), (first * last).sum(axis=1)))


class Feature(NamedTuple):
    """One named number per window: ``unit`` and ``formula`` for people, ``compute`` for machines."""

    unit: str
    formula: str
    invariant: bool
    compute: object


_STATISTICS = {
    "mean": (r"\bar{%s}", lambda values: values.mean(axis=1)),
    "standard deviation": (r"\sqrt{\overline{(%s - \bar{%s})^2}}", lambda values: values.std(axis=1)),
    "minimum": (r"\min_t %s", lambda values: values.min(axis=1)),
    "maximum": (r"\max_t %s", lambda values: values.max(axis=1)),
    "interquartile range": (r"Q_{75}(%s) - Q_{25}(%s)", lambda values: scipy.stats.iqr(values, axis=1)),
    "skewness": (r"\overline{z^3},\ z = (%s - \bar{%s}) / s", _moment("skew")),
    "excess kurtosis": (r"\overline{z^4} - 3,\ z = (%s - \bar{%s}) / s", _moment("kurtosis")),
}


def _statistics(name, symbol, unit, pick, chosen, invariant):
    for statistic in chosen.split(", "):
        formula, function = _STATISTICS[statistic]
        said = formula.replace("%s", symbol)
        own_unit = "1" if statistic in ("skewness", "excess kurtosis") else unit
        yield f"{name} {statistic}", Feature(own_unit, said, invariant, lambda p, f=function: f(pick(p)))


def _table():
    five = "mean, standard deviation, minimum, maximum, interquartile range"
    for n, axis in enumerate("xyz"):
        pick = lambda p, n=n: p.acceleration[..., n]
        yield from _statistics(f"acceleration {axis}", f"a_{axis}", "m/s^2", pick, five, False)
    for n, axis in enumerate("xyz"):
        pick = lambda p, n=n: p.rotation[..., n]
        three = "mean, standard deviation, interquartile range"
        yield from _statistics(f"rotation {axis}", rf"\omega_{axis}", "rad/s", pick, three, False)
    seven = f"{five}, skewness, excess kurtosis"
    yield from _statistics("acceleration size", r"\|a\|", "m/s^2", lambda p: p.size, seven, True)
    four = "mean, standard deviation, maximum, interquartile range"
    yield from _statistics("rotation size", r"\|\omega\|", "rad/s", lambda p: p.turning, four, True)
    for one, other in ("xy", "xz", "yz"):
        axes = ["xyz".index(one), "xyz".index(other)]
        yield f"acceleration {one} with {other}", Feature(
            "1", rf"\mathrm{{corr}}(a_{one}, a_{other})", False,
            lambda p, axes=axes: _correlation(*(p.acceleration[..., axis] for axis in axes)),
        )  # fmt: skip
    for n, axis in enumerate("xyz"):
        yield f"tilt of {axis}", Feature(
            "degrees", rf"\arccos(\bar g_{axis} / \|\bar g\|)", False,
            lambda p, n=n: np.degrees(np.arccos(np.clip(p.up[:, 0, n], -1, 1))),
        )  # fmt: skip
    yield from _INVARIANT.items()


_INVARIANT = {
    "jerk": Feature(
        "m/s^3", r"\sqrt{\overline{\|\dot a\|^2}}", True,
        lambda p: p.rate * np.sqrt((np.diff(p.acceleration, axis=1) ** 2).sum(axis=2).mean(axis=1)),
    ),
    "crest factor": Feature(
        "1", r"\max_t |\,\|a\| - \overline{\|a\|}\,| / s", True,
        lambda p: _ratio(np.abs(p.size - p.size.mean(axis=1, keepdims=True)).max(axis=1), p.size.std(axis=1)),
    ),
    "mean crossings": Feature(
        "Hz", r"\mathrm{sign\ changes\ of\ } \|a\| - \overline{\|a\|} \mathrm{\ per\ second}", True,
        lambda p: np.diff(p.size > p.size.mean(axis=1, keepdims=True), axis=1).sum(axis=1) * p.rate / p.size.shape[1],
    ),
    "tilt change": Feature("degrees", r"\angle(g_\mathrm{first\ s}, g_\mathrm{last\ s})", True, _tilt_change),
    "vertical spread": Feature(
        "m/s^2", r"\mathrm{std}(b \cdot u),\ u = \bar g / \|\bar g\|", True, lambda p: p.vertical.std(axis=1)
    ),
    "horizontal spread": Feature(
        "m/s^2", r"\sqrt{\overline{\|b - (b \cdot u) u\|^2}}", True,
        lambda p: np.sqrt((p.horizontal**2).sum(axis=2).mean(axis=1)),
    ),
    "vertical share": Feature(
        "1", r"\overline{(b \cdot u)^2} / \overline{\|b\|^2}", True,
        lambda p: _ratio((p.vertical**2).mean(axis=1), (p.body**2).sum(axis=2).mean(axis=1)),
    ),
    "spread of turning about the vertical": Feature(
        "rad/s", r"\mathrm{std}(\omega \cdot u)", True, lambda p: p.about_up.std(axis=1)
    ),
    "net turn about the vertical": Feature(
        "rad", r"\sum_t \omega \cdot u / f_s", True, lambda p: p.about_up.sum(axis=1) / p.rate
    ),
    "dominant frequency": Feature(
        "Hz", r"\arg\max_f P_{\|a\|}(f)", True, lambda p: _dominant(p.power, p.frequencies)
    ),
    "dominant share": Feature(
        "1", r"\max_f P_{\|a\|}(f) / \sum_f P_{\|a\|}(f)", True, lambda p: _share(p.power).max(axis=1)
    ),
    "spectral centroid": Feature(
        "Hz", r"c = \sum_f f P_{\|a\|}(f) / \sum_f P_{\|a\|}(f)", True, lambda p: _centroid(p.power, p.frequencies)
    ),
    "spectral spread": Feature(
        "Hz", r"\sqrt{\sum_f (f - c)^2 P_{\|a\|}(f) / \sum_f P_{\|a\|}(f)}", True,
        _spectral_spread,
    ),
    "spectral entropy": Feature(
        "1", r"-\sum_f p_f \log_2 p_f / \log_2 F,\ p = P / \sum P", True, lambda p: _entropy(p.power)
    ),
    **{
        f"power from {low:g} to {high:g} Hz": Feature(
            "(m/s^2)^2", rf"\sum_{{{low:g} \leq f < {high:g}}} P_{{\|a\|}}(f)", True,
            lambda p, low=low, high=high: _band(p, low, high),
        )
        for low, high in ((0.1, 1), (1, 3), (3, 5), (5, 10))
    },
    "rhythm": Feature(
        "s", r"\arg\max_{0.25 \leq \tau \leq 2} \rho_{\|a\|}(\tau)", True, lambda p: p.rhythm[0]
    ),
    "regularity": Feature(
        "1", r"\max_{0.25 \leq \tau \leq 2} \rho_{\|a\|}(\tau)", True, lambda p: p.rhythm[1]
    ),
    "dominant frequency of rotation": Feature(
        "Hz", r"\arg\max_f P_{\|\omega\|}(f)", True, lambda p: _dominant(p.turning_power, p.frequencies)
    ),
    "spectral centroid of rotation": Feature(
        "Hz", r"\sum_f f P_{\|\omega\|}(f) / \sum_f P_{\|\omega\|}(f)", True,
        lambda p: _centroid(p.turning_power, p.frequencies),
    ),
    "spectral entropy of rotation": Feature(
        "1", r"-\sum_f p_f \log_2 p_f / \log_2 F", True, lambda p: _entropy(p.turning_power)
    ),
}  # fmt: skip

FEATURES = dict(_table())
"""Name -> :class:`Feature`. Symbols: a acceleration, omega rotation, g gravity, b = a - g, s standard deviation,
P power (Hann window), rho autocorrelation, f_s samples per second; a bar is a mean over time."""


def describe_windows(imu, names=None, rate=20.0):
    """Named features of each window.

    Parameters
    ----------
    imu : (N, T, 6) array, m/s^2 and rad/s.
    names : list of str, optional
        Of ``FEATURES``; all by default.
    rate : float, samples per second.

    Returns
    -------
    pandas.DataFrame
        N rows, one column per name.

    Raises
    ------
    RecordingError
        For another shape, windows below two seconds, or a name that is no feature.
    """
    imu = np.asarray(imu, dtype=np.float64)
    if imu.ndim != 3 or imu.shape[2] != 6 or imu.shape[1] < 2 * rate:
        raise RecordingError(f"Windows must have shape (N, T, 6) and last two seconds or more, not {imu.shape}.")
    names = list(FEATURES if names is None else names)
    unknown = [name for name in names if name not in FEATURES]
    if unknown:
        raise RecordingError(f"{unknown[0]!r} is no feature. See signals.FEATURES for the {len(FEATURES)} names.")
    parts = _Parts(imu, rate)
    import pandas as pd

    return pd.DataFrame({name: FEATURES[name].compute(parts) for name in names})
