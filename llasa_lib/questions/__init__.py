"""Questions about a window, with answers that its facts prove.

Notable features:

- Five questions per window of eight kinds: recognition; evidence or causal; perception or temporal; numeric or
  counterfactual; reliability. ``compare`` asks about two windows.
- The choice of a question depends on the seed alone, never on the label or on the facts. So the question by
  itself tells nothing, and a model has to read its sensor. ``leak`` measures it.
- What cannot be told is refused with the reason; what sounds alike and can be told is answered.
- Mostly short: questions of 4 to 10 words, answers of 4 to 22, chains of evidence up to 40. A language model trains on
  every one of them.
- ``make_corpus``: the text of a whole data set; the seed of a window is the hash of its content, so order,
  subset and process do not change a word.
"""

from llasa_lib.questions.augmenting import COPIES, POSTURES, STILL
from llasa_lib.questions.leaks import leak
from llasa_lib.questions.making import (
    KINDS,
    RECOGNITION_QUESTION,
    RECOGNITION_QUESTIONS,
    SLOTS,
    QuestionAnswer,
    add_augmented,
    compare,
    make,
    make_comparisons,
    make_corpus,
    recognition_answer,
    window_seed,
)
