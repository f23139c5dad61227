"""Question-answer corpora as chats: the published ones in, ours out.

Notable features:

- ``read_chat``: JSON lines of chat messages, in whichever of the usual dialects, into one row per question and answer.
  What cannot be read is counted and named by line; it never ends the reading.
- ``load``: SensorCaps and OpenSQA from the Hugging Face hub.
- ``export``: a corpus of ours as chats and as parquet, with a dataset card. The recordings stay with their owners: no
  sample of a signal is exported.
"""

from llasa_lib.corpora.answers import read_pairs
from llasa_lib.corpora.exporting import export
from llasa_lib.corpora.reading import COLUMNS, DESCRIPTION, PUBLISHED, load, read_chat
