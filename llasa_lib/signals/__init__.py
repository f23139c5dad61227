"""Stage 1, second half: from recordings to windows that every later stage reads.

- ``resample``: 50 Hz, or uneven time stamps, to 20 Hz through an anti-alias filter; a gap splits, it is never
  bridged.
- ``make_windows``: (N, 120, 6) float32 in SI units with subject, activity, placement, source and start, as a
  ``datasets.Dataset``; a window never crosses the end of a labelled segment. ``make_shards``: the same of whole data
  sets, in several processes, a file per person.
- ``split_by_subject`` and ``check_disjoint``, which it calls: nobody, and no window, in two splits.
- ``split_gravity``, ``gravity_direction``, ``align_to_gravity``: posture and movement apart.
- ``to_frame`` and ``calibrate``: one frame for all phones, and what a recording says of its windows; ``STATISTICS``:
  the 220 numbers in it that the summary tokens are made of.
- ``check_windows``: six seconds, real numbers, m/s^2 and rad/s, or a sentence that says what is wrong; every later
  stage asks it.
- ``describe_windows``: 64 named features with unit and formula; ``summarise``: 132 plain numbers along the device's own
  axes.
- ``turn_randomly``, ``turn_about``, ``mirror``: what a device worn in another way, or another building, might have
  given.
- ``limu_bert_windows``: the published recipe of LIMU-BERT, byte for byte, aliasing included. For parity only.

NOTE: our windows deviate from LLaSA's and LIMU-BERT's, which average blocks of 2 and 3 samples. That folds
vibration above 10 Hz onto the band of the steps; chapter 1 shows it.
"""

from llasa_lib.signals.augmentation import level_axis, mirror, turn_about, turn_randomly, upright_axis
from llasa_lib.signals.checking import check_windows
from llasa_lib.signals.features import FEATURES, SUMMARY_NAMES, describe_windows, summarise
from llasa_lib.signals.gravity import align_to_gravity, gravity_direction, rotate, split_gravity
from llasa_lib.signals.parity import limu_bert_windows
from llasa_lib.signals.resampling import resample
from llasa_lib.signals.sessions import (
    AXES,
    FRAME_CHANNELS,
    LINES,
    STATISTICS,
    Calibrated,
    calibrate,
    is_moving,
    to_frame,
)
from llasa_lib.signals.shards import make_shards
from llasa_lib.signals.splits import check_disjoint, split_by_subject
from llasa_lib.signals.windows import (
    LENGTH,
    RATE,
    cut_windows,
    make_windows,
    to_array,
    window_features,
    window_hashes,
)
