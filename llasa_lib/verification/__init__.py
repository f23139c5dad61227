"""English texts about a window, verified: claims found by rules, recomputed from the raw samples.

Notable features:

- ``verify``: text and window in, a list of ``Claim`` out, each supported, contradicted or not checkable.
- The rules are tables. ``statements``: what is said in words, beside its recomputation; ``vocabulary``: units and
  the words that numbers stand among; ``topics``: what no sample can decide. A reader extends a table by a row.
- ``samples`` recomputes in plain numpy, and shares with the measurement of facts only its constants.
- ``text`` knows sentences, clauses, and which seconds a clause is about; ``numbers`` what a number stands for;
  ``values`` its value.
"""

from llasa_lib.verification.claims import Claim
from llasa_lib.verification.verdicts import verify
