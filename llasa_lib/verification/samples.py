"""The recomputation: what the samples of a window say, in plain numpy.

Nothing here is shared with the measurement of facts but its constants, and where there is another way to
calculate the same thing, this is it: correlation coefficients instead of sums of products, sines and cosines
instead of the fast Fourier transform, a walk over the peaks instead of ``scipy.signal``.
"""

from functools import cached_property
from itertools import pairwise

import numpy as np

from llasa_lib.captions import facts

ACCELERATION, ROTATION = (0, 1, 2), (3, 4, 5)  # columns of a window
LONG_ENOUGH = 3.0  # seconds that a rhythm needs to repeat in


def spread(signal):
    """Standard deviation over time."""
    return float(np.linalg.norm(signal - signal.sum() / len(signal)) / len(signal) ** 0.5)


STATISTICS = {
    "mean": lambda signal: float(signal.sum() / len(signal)),
    "maximum": lambda signal: float(np.sort(signal)[-1]),
    "minimum": lambda signal: float(np.sort(signal)[0]),
    "standard deviation": spread,
    "variance": lambda signal: spread(signal) ** 2,
    "range": lambda signal: float(np.sort(signal)[-1] - np.sort(signal)[0]),
    "amplitude": lambda signal: float(np.sort(signal)[-1] - np.sort(signal)[0]) / 2,
    "first value": lambda signal: float(signal[0]),
    "last value": lambda signal: float(signal[-1]),
    "median": lambda signal: float(np.quantile(signal, 0.5)),
    "root mean square": lambda signal: float((signal @ signal / len(signal)) ** 0.5),
}


class Samples:
    """Some seconds of a window and what can be recomputed from them.

    Parameters
    ----------
    window : (T, 6) array
        Acceleration in m/s^2 with gravity, rotation in rad/s.
    rate : float
        Samples per second.
    interval : (float, float)
        First and last second.
    """

    def __init__(self, window, rate, interval=(0.0, facts.SECONDS)):
        self.window, self.rate, self.interval = window, rate, interval
        self.part = window[round(interval[0] * rate) : round(interval[1] * rate)]
        self._others = {interval: self}
        self.whole = self

    def between(self, start, end):
        """The samples of other seconds of the same window."""
        others = self.whole._others
        if (start, end) not in others:
            others[start, end] = Samples(self.window, self.rate, (start, end))
            others[start, end].whole = self.whole
        return others[start, end]

    def parts(self, count):
        """Equal parts, one after the other."""
        edges = np.linspace(*self.interval, count + 1).tolist()
        return [self.between(*pair) for pair in pairwise(edges)]

    @property
    def enough(self):
        """Whether there are samples to speak of."""
        return len(self.part) >= 2

    @cached_property
    def size(self):
        """|acceleration|, m/s^2."""
        return (self.part[:, :3] * self.part[:, :3]).sum(axis=1) ** 0.5

    @cached_property
    def turning(self):
        """|rotation|, rad/s."""
        return (self.part[:, 3:] * self.part[:, 3:]).sum(axis=1) ** 0.5

    def signal(self, channels):
        """One column, or the magnitude of three."""
        if len(channels) == 1:
            return self.part[:, channels[0]]
        return self.size if channels == ACCELERATION else self.turning

    # --- posture

    @cached_property
    def gravity(self):
        """Mean acceleration, (3,)."""
        return self.part[:, :3].sum(axis=0) / len(self.part)

    @property
    def gravity_axis(self):
        """Place of the axis that carries most of gravity."""
        return int(np.argmax(self.gravity**2))

    def lean(self, axis=None):
        """Degrees between an axis (the one that carries gravity) and the vertical."""
        axis = self.gravity_axis if axis is None else axis
        across = np.delete(self.gravity, axis)
        return float(np.degrees(np.arctan2(np.hypot(*across), abs(self.gravity[axis]))))

    @cached_property
    def turn(self):
        """Degrees between mean acceleration of the first and of the last second."""
        start, end = self.interval
        first, last = (self.between(*pair).gravity for pair in ((start, start + 1), (end - 1, end)))
        cosine = first @ last / max(np.linalg.norm(first) * np.linalg.norm(last), 1e-12)
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))

    # --- intensity

    @cached_property
    def motion(self):
        """Spread of |acceleration|, m/s^2."""
        return spread(self.size)

    @property
    def level(self):
        """The word for it."""
        return next(word for limit, word in facts.LEVELS if self.motion < limit)

    @cached_property
    def still_seconds(self):
        """How many whole seconds are still."""
        first, last = (round(second) for second in self.interval)
        return sum(self.between(float(s), s + 1.0).motion < facts.STILL for s in range(first, last))

    @cached_property
    def impacts(self):
        """Seconds of the impacts: high peaks of |acceleration|, the highest first, none too near to a higher one."""
        size, gap = self.size, round(facts.IMPACT_GAP * self.rate)
        least = size.mean() + max(facts.IMPACT_SPREADS * self.motion, facts.IMPACT_LEAST)
        high = [i for i in range(1, len(size) - 1) if size[i] >= least and size[i - 1] < size[i] >= size[i + 1]]
        kept = []
        for i in sorted(high, key=lambda i: -size[i]):
            if all(abs(i - other) >= gap for other in kept):
                kept.append(i)
        return [self.interval[0] + i / self.rate for i in kept]

    def moment(self, channels, lowest=False):
        """Second at which a signal is highest, or lowest."""
        signal = self.signal(channels)
        return self.interval[0] + int(signal.argmin() if lowest else signal.argmax()) / self.rate

    # --- rhythm

    def _likeness(self, lag):
        """Correlation of |acceleration| with itself some samples later."""
        now, later = self.size[:-lag], self.size[lag:]
        return 0.0 if min(now.std(), later.std()) < facts.CONSTANT else float(np.corrcoef(now, later)[0, 1])

    @cached_property
    def _tops(self):
        """Local maxima of the likeness between the shortest and the longest step: (samples of a step, height)."""
        first, last = (round(seconds * self.rate) for seconds in facts.STEP_SECONDS)
        height = {lag: self._likeness(lag) for lag in range(first - 1, last + 2)}
        tops = []
        for lag in range(first, last + 1):
            before, top, after = height[lag - 1], height[lag], height[lag + 1]
            if before < top >= after and top > 0:
                _, slope, bend = np.polynomial.polynomial.polyfit((-1, 0, 1), (before, top, after), 2)
                tops.append((lag - (slope / (2 * bend) if abs(bend) > 1e-12 else 0.0), top))
        return tops

    @cached_property
    def rhythm(self):
        """(steps per second, regularity), or None without a regular rhythm, or if there is too little to repeat."""
        highest = max((height for _, height in self._tops), default=0.0)
        if highest <= 0 or self.motion < facts.LEAST_GAIT:
            return None
        lag, height = next(top for top in self._tops if top[1] >= facts.AS_HIGH * highest)
        return (self.rate / lag, height) if height >= facts.LEAST_REGULARITY else None

    @property
    def long_enough(self):
        """Whether a rhythm could show."""
        return self.interval[1] - self.interval[0] >= LONG_ENOUGH

    @cached_property
    def symmetry(self):
        """Likeness after one step and after two, the smaller over the larger; None without a rhythm."""
        if self.rhythm is None:
            return None
        heights = []
        for lag in (self.rate / self.rhythm[0], 2 * self.rate / self.rhythm[0]):
            low = int(lag)
            heights.append(max(0.0, np.interp(lag, (low, low + 1), [self._likeness(low), self._likeness(low + 1)])))
        return float(min(heights) / max(*heights, 1e-9))

    def swing(self, channels, lowest=0.3):
        """Strength of every frequency in a signal: (frequencies in Hz, strengths), by correlation with sines."""
        signal = self.signal(channels)
        time = np.arange(len(signal)) / self.rate
        fade = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(len(signal)) / (len(signal) - 1))
        frequencies = np.arange(lowest, self.rate / 2, 0.01)
        waves = np.exp(-2j * np.pi * np.outer(frequencies, time))
        return frequencies, np.abs(waves @ ((signal - signal.mean()) * fade))

    # --- course

    @cached_property
    def change(self):
        """(second, later spread over earlier) of the greatest change of spread at a whole second, or None."""
        start, end = self.interval
        found = []
        for second in range(int(start) + 1, int(np.ceil(end))):
            before, after = self.between(start, float(second)).motion, self.between(float(second), end).motion
            found.append((second, (after + facts.CHANGE_FLOOR) / (before + facts.CHANGE_FLOOR)))
        best = max(found, key=lambda pair: max(pair[1], 1 / pair[1]), default=(0, 1.0))
        return best if max(best[1], 1 / best[1]) >= facts.CHANGE_RATIO else None

    # --- sensor

    def problem(self, channel):
        """``"constant"``, ``"clipped"`` or None."""
        signal = self.part[:, channel]
        if spread(signal) < facts.CONSTANT:
            return "constant"
        ends = [end for end in (signal.max(), signal.min()) if np.count_nonzero(signal == end) >= facts.CLIPPED_SAMPLES]
        return "clipped" if channel in ACCELERATION and any(abs(end) > facts.CLIPPED_LEAST for end in ends) else None


def course(first, second):
    """``"rising"``, ``"falling"`` or ``"steady"``: from one spread, or mean rotation, to a later one."""
    smaller, larger = sorted((first, second))
    if larger - smaller < facts.TREND_LEAST or larger / max(smaller, 1e-12) < facts.TREND_RATIO:
        return "steady"
    return "falling" if second < first else "rising"


def names(channels):
    """Columns in words, for example "acceleration x"."""
    if len(channels) == 1:
        return f"{'rotation' if channels[0] > 2 else 'acceleration'} {facts.AXES[channels[0] % 3]}"
    return "|rotation|" if channels == ROTATION else "|acceleration|"
