"""How far to believe the model: scores on people it never saw, with intervals, and controls beside them.

- ``evaluate``: generated and log-probability answers, the zeroed sensor, and three baselines on the same windows.
- ``answers``: greedy answers to a question, in batches; ``score_labels``: log-probability of every activity's sentence,
  ``answers_about``: several questions about one window; what is shared runs once.
- ``packed``: the language model's matrices laid out once for products of a few rows, on a CPU.
- ``check_answers``: the claims of free answers, held against the samples, kind by kind.
- ``Report``: prints, plots, saves as JSON.
"""

from .answering import answers, answers_about, parse_activity, score_activities, score_labels
from .baselines import Baselines, fit_baselines
from .claims import check_answers
from .packing import packed
from .report import Report, System, bootstrap_interval, macro_f1
from .run import by_nearest_word, evaluate, validate, zeroed

__all__ = [
    "Baselines",
    "Report",
    "System",
    "answers",
    "answers_about",
    "bootstrap_interval",
    "by_nearest_word",
    "check_answers",
    "evaluate",
    "fit_baselines",
    "macro_f1",
    "packed",
    "parse_activity",
    "score_activities",
    "score_labels",
    "validate",
    "zeroed",
]
