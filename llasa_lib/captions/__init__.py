"""From a window to sentences that can be proved: measure first, write second.

Notable features:

- ``measure``/``measure_all``: named facts with unit, axis, the seconds they come from and a confidence, computed
  *over time*, never across the axes of one sample.
- ``describe``: a caption of 20 to 25 words and a step-by-step narration, from a small grammar (``grammar``). Every
  number in it is a rounded fact with its unit. The same seed gives the same words.
- ``verify``: reads any English text, finds what it claims, recomputes it from the raw window in plain numpy, by
  code that shares nothing with ``measure`` but the definitions, and says claim by claim whether it holds.
- ``variety``: how little a set of texts repeats itself.
- Nothing here knows what an activity looks like. A label is copied into the text if given, never guessed.
"""

from llasa_lib.captions.diversity import Variety, variety
from llasa_lib.captions.facts import (
    AS_HIGH,
    AXES,
    CHANGE_FLOOR,
    CHANGE_RATIO,
    CLEAR_RHYTHM,
    CLIPPED_LEAST,
    CLIPPED_SAMPLES,
    CONSTANT,
    IMPACT_GAP,
    IMPACT_LEAST,
    IMPACT_SPREADS,
    LEAST_GAIT,
    LEAST_REGULARITY,
    LEVELS,
    RATE,
    SECONDS,
    STEP_SECONDS,
    STILL,
    SYMMETRY_EVEN,
    SYMMETRY_UNEVEN,
    TREND_LEAST,
    TREND_RATIO,
    TURN_LEAST,
    Fact,
    Facts,
    autocorrelation,
    cadence,
    change_point,
    check_windows,
    count_impacts,
    dominant_frequency,
    level,
    measure,
    measure_all,
    say,
    sensor_problems,
    spectral_peak,
    symmetry,
    trend,
)
from llasa_lib.captions.grammar import PHRASES, is_moving, phrases
from llasa_lib.captions.language import WORDS, Caption, describe, measurement_line, narrate
from llasa_lib.captions.verification import Claim, verify

__all__ = [
    "AS_HIGH",
    "AXES",
    "CHANGE_FLOOR",
    "CHANGE_RATIO",
    "CLEAR_RHYTHM",
    "CLIPPED_LEAST",
    "CLIPPED_SAMPLES",
    "CONSTANT",
    "IMPACT_GAP",
    "IMPACT_LEAST",
    "IMPACT_SPREADS",
    "LEAST_GAIT",
    "LEAST_REGULARITY",
    "LEVELS",
    "PHRASES",
    "RATE",
    "SECONDS",
    "STEP_SECONDS",
    "STILL",
    "SYMMETRY_EVEN",
    "SYMMETRY_UNEVEN",
    "TREND_LEAST",
    "TREND_RATIO",
    "TURN_LEAST",
    "WORDS",
    "Caption",
    "Claim",
    "Fact",
    "Facts",
    "Variety",
    "autocorrelation",
    "cadence",
    "change_point",
    "check_windows",
    "count_impacts",
    "describe",
    "dominant_frequency",
    "is_moving",
    "level",
    "measure",
    "measure_all",
    "measurement_line",
    "narrate",
    "phrases",
    "say",
    "sensor_problems",
    "spectral_peak",
    "symmetry",
    "trend",
    "variety",
    "verify",
]
