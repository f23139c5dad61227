"""A language model in four bits, in a process of its own: peft imports bitsandbytes wherever it is found."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from llasa_lib import files

FOLDER = Path(sys.prefix) / "quantized"
ABSENT = f"bitsandbytes is not in {FOLDER}: make unit installs requirements-quantized.txt there"


@pytest.mark.skipif(not (FOLDER / "bitsandbytes").exists() and find_spec("bitsandbytes") is None, reason=ABSENT)
def test_a_language_model_in_four_bits_is_aligned_tuned_and_read_again():
    path = os.pathsep.join([str(files.PACKAGE.parent), str(FOLDER), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", Path(__file__).with_name("quantized.py")],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    assert "13 passed" in done.stdout
