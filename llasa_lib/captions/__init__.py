"""From a window to sentences that can be proved: measure first, write second.

Notable features:

- ``measure``/``measure_all``: named facts with unit, axis, the seconds they come from and a confidence, computed
  *over time*, never across the axes of one sample.
- ``describe``: a caption of 20 to 25 words and a step-by-step narration, from a small grammar (``grammar``). Every
  number in it is a rounded fact with its unit. The same seed gives the same words. ``notes``: the facts in one line.
- ``variety``: how little a set of texts repeats itself.
- Nothing here knows what an activity looks like. A label is copied into the text if given, never guessed.
"""

from llasa_lib.captions.diversity import variety
from llasa_lib.captions.facts import (
    AXES,
    CONSTANT,
    LEVELS,
    RATE,
    SECONDS,
    STEP_SECONDS,
    Fact,
    Facts,
    autocorrelation,
    dominant_frequency,
    level,
    measure,
    measure_all,
    say,
)
from llasa_lib.captions.grammar import is_moving, phrases
from llasa_lib.captions.language import describe, measurement_line
