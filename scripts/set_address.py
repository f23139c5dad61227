"""Move the project to another address: ``python scripts/set_address.py https://github.com/OWNER/NAME``.

The address stands in ``_config.yml`` (``repository: url``). This script writes a new one there, and wherever
the old one is repeated because a file cannot look it up: badges, the notebooks' set-up cell, citation, links.
"""

import re
import sys
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
PLACES = [
    "*.md",
    "*.toml",
    "*.cff",
    "*.yml",
    "*/*.md",
    "book/*.ipynb",
    "assignments/**/*.ipynb",
    "llasa_lib/**/*.py",
]
ADDRESS = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+?)/?(?:\.git)?")


def slug(url):
    """OWNER/NAME of an address on GitHub (the only one that Colab can open notebooks from)."""
    match = ADDRESS.fullmatch(url.strip())
    if not match:
        raise SystemExit(f"{url!r} is no address like https://github.com/OWNER/NAME.")
    return match.group(1)


def current(folder=REPOSITORY):
    """OWNER/NAME as ``_config.yml`` has it."""
    return slug(yaml.safe_load((folder / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"])


def files(folder=REPOSITORY):
    """All files that may repeat the address."""
    return sorted({path for place in PLACES for path in folder.glob(place) if path.is_file()})


def move(new, folder=REPOSITORY):
    """Write the new address everywhere; give the files that changed."""
    old, new = current(folder), slug(new)
    # Only after github.com/ (pages, clones, pip) or /github/ (Colab), and only as a whole name.
    repeated = re.compile(rf"(github\.com/|/github/){re.escape(old)}(?![\w-])")
    changed = []
    for path in files(folder):
        text = path.read_text(encoding="utf-8")
        moved = repeated.sub(rf"\g<1>{new}", text)
        if moved != text:
            path.write_text(moved, encoding="utf-8")
            changed.append(path)
    return changed


def main(arguments):
    """Command line."""
    if len(arguments) != 1:
        raise SystemExit(__doc__.splitlines()[0])
    for path in move(arguments[0]):
        print(path.relative_to(REPOSITORY))


if __name__ == "__main__":
    main(sys.argv[1:])
