"""What a text says, beside what the window says."""

from dataclasses import dataclass
from typing import NamedTuple

from llasa_lib.captions.facts import SECONDS

VERDICTS = {True: "supported", False: "contradicted", None: "not checkable"}


@dataclass(frozen=True)
class Claim:
    """One statement found in a text, beside what the window says.

    Attributes
    ----------
    text : str
        The words, as they stand in the text.
    start, end : int
        Their place in the text.
    quantity : str
        What they are about, for example ``"cadence"`` or ``"gravity axis"``.
    claimed : float or str
        A number in m/s², rad/s, degrees, seconds or per second, whatever unit the text uses; or a word.
    measured : float, str or None
        The same, recomputed from the samples; None if the window cannot decide.
    holds : bool or None
        True, False, or None for what the window cannot decide.
    channels : tuple of int
        Columns of the window that decide.
    interval : (float, float)
        The seconds that decide.
    """

    text: str
    start: int
    end: int
    quantity: str
    claimed: float | str
    measured: float | str | None
    holds: bool | None
    channels: tuple[int, ...] = ()
    interval: tuple[float, float] = (0.0, SECONDS)

    @property
    def verdict(self):
        """``"supported"``, ``"contradicted"`` or ``"not checkable"``."""
        return VERDICTS[self.holds]


class Finding(NamedTuple):
    """What a recomputation found out about a claim. Fields as in :class:`Claim`."""

    claimed: float | str
    measured: float | str | None = None
    holds: bool | None = None
    channels: tuple[int, ...] = ()
    interval: tuple[float, float] | None = None
    quantity: str | None = None
