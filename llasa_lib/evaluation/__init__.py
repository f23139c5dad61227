"""How far to believe the model: scores on people it never saw, with intervals, and controls beside them.

- ``evaluate``: generated and log-probability answers, the zeroed sensor, and three baselines on the same windows.
- ``parse_activity``: the one activity that an answer names; ``named``: all of them, by words of one's own.
- ``check_answers``: the claims of free answers, held against the samples, kind by kind.
- ``Report``: prints, plots, saves as JSON.
"""

from .baselines import Baselines, fit_baselines
from .claims import check_answers
from .report import Report, System, bootstrap_interval, macro_f1
from .run import best, by_nearest_word, evaluate, named, parse_activity, validate, zeroed
