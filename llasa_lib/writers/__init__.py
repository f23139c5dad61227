"""Language models as writers: what they write about a window is held against its samples before it is kept.

Notable features:

- Any OpenAI-compatible server. Address, key and model come from the environment; the key from nowhere else.
- ``write``: facts go into a prompt (``llasa_lib/prompts``), several requests are under way at once, faults that pass
  are asked again with growing pauses or as ``Retry-After`` says.
- A journal of JSON lines: a killed run goes on where it was, and pays for nothing twice.
- ``estimate`` before, and a ``Budget`` that is held while writing: what a request may cost at most is set aside first.
- A contradicted claim is sent back once with what the samples say; what is still contradicted is dropped.
"""

from llasa_lib.writers.prompts import KINDS
from llasa_lib.writers.run import estimate, write
from llasa_lib.writers.server import Server
from llasa_lib.writers.spending import Budget, Price
