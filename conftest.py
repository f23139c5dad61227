"""For every test, of the library and of the notebooks: what a running notebook says must be heard."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "book" / "_ext"))

import kernel_messages

kernel_messages.ask_again()
