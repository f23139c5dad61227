"""From a window to sentences that can be proved: measure first, write second.

Notable features:

- ``measure``/``measure_all``: named facts with unit, axis and the seconds they come from, computed *over
  time*, never across the axes of one sample.
- ``describe``: a caption of 20 to 25 words and a step-by-step narration, from a small grammar. Every number
  in it is a rounded fact with its unit. The same seed gives the same words.
- ``check_text``: reads such a sentence back, recomputes every number from the raw window in plain numpy, by
  code that shares nothing with ``measure`` but the definitions, and says claim by claim whether it holds.
- Nothing here knows what an activity looks like. A label is copied into the text if given, never guessed.
"""

from llasa_lib.captions.facts import (
    AS_HIGH,
    AXES,
    LEAST_GAIT,
    LEAST_REGULARITY,
    LEVELS,
    RATE,
    SECONDS,
    STEP_SECONDS,
    STILL,
    TREND_LEAST,
    TREND_RATIO,
    Fact,
    Facts,
    autocorrelation,
    cadence,
    check_windows,
    dominant_frequency,
    level,
    measure,
    measure_all,
    say,
    trend,
)
from llasa_lib.captions.language import WORDS, Caption, describe, is_moving, narrate, phrases
from llasa_lib.captions.verification import Claim, check_text

__all__ = [
    "AS_HIGH",
    "AXES",
    "LEAST_GAIT",
    "LEAST_REGULARITY",
    "LEVELS",
    "RATE",
    "SECONDS",
    "STEP_SECONDS",
    "STILL",
    "TREND_LEAST",
    "TREND_RATIO",
    "WORDS",
    "Caption",
    "Claim",
    "Fact",
    "Facts",
    "autocorrelation",
    "cadence",
    "check_text",
    "check_windows",
    "describe",
    "dominant_frequency",
    "is_moving",
    "level",
    "measure",
    "measure_all",
    "narrate",
    "phrases",
    "say",
    "trend",
]
