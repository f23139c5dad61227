"""``python -m llasa_lib`` is the ``llasa`` command; so ``accelerate launch -m llasa_lib align`` works."""

from .cli import main

main()
