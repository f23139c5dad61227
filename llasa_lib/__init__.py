"""Language models that understand wearable sensors: the library behind the book.

One module per stage, in the order of the chapters: ``recordings`` and ``signals``, ``encoder``, ``captions`` and
``questions``, ``model``, ``tuning``, ``evaluation``. ``pipeline`` runs them in order; ``cli`` is the ``llasa`` command.
"""

__version__ = "0.1.0"
