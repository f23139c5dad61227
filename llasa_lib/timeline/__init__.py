"""A whole recording: what somebody did, from when to when.

- :func:`build`: what a model says of the windows, and the signal itself -> :class:`Timeline`, rows and bouts.
- ``decoding``: a hidden Markov model over ticks of half a second; ``steps``: counted at the recording's own rate.
- ``questions`` and ``answers``: how long, how often, when, in which order, how many steps; answered by a program, with
  the bouts that prove it.

Nothing here knows of a language model: names, probabilities, and whether a window is like anything taught, come in.
"""

from llasa_lib.timeline import questions
from llasa_lib.timeline.answers import Answer
from llasa_lib.timeline.bouts import Bout, Row, Timeline, build, clock, from_windows
from llasa_lib.timeline.decoding import CHANGING, UNKNOWN
