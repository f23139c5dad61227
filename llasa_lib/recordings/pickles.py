"""Pickles of other people, read without running anything of theirs.

A pickle is a program: it names functions, and loading it calls them. :class:`AllowListUnpickler` calls only the
harmless ones that it is given, and refuses every other name.
"""

import codecs
import pickle

import numpy as np


def _encode(text, encoding):
    # Protocol 2 has no bytes: arrays are written as text and encoded back.
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"unexpected encoding {encoding!r}")
    return codecs.latin_1_encode(text)[0]


# What a numpy array needs: {(module, name): what to call instead}.
ARRAYS = {
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    # numpy names this function itself when it pickles an array; taken from there, as its module has moved.
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
}


class AllowListUnpickler(pickle.Unpickler):
    """Reads a pickle that uses only allowed names.

    Parameters
    ----------
    file : binary file
    allowed : dict, ``{(module, name): object}``: what stands in for each name.

    Raises
    ------
    pickle.UnpicklingError
        From ``load``, if the pickle uses any other name.
    """

    def __init__(self, file, allowed):
        super().__init__(file, fix_imports=False)
        self._allowed = allowed

    def find_class(self, module, name):
        try:
            return self._allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"the name {module}.{name} is not allowed") from None
