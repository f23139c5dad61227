"""``python -m llasa_lib`` is the ``llasa`` command; so ``accelerate launch -m llasa_lib align`` works."""

from .cli import main

if __name__ == "__main__":  # a process that works alone imports this module too
    main()
