#!/bin/sh
# Writes requirements.lock anew: the newest releases that pyproject.toml allows, all installed together in an empty
# environment, then listed. Two packages stay where they are unless raised by hand, at the top of the old lock file:
# torch (for which a build without CUDA may be at hand) and numpy (numba, wanted by aeon, follows numpy late).
# Called by `make lock`.
set -eu
cd "$(dirname "$0")/.."
. scripts/find_python.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=$(find_python)
"$python" -m venv "$work/venv"
grep -E '^(torch|numpy)==' requirements.lock >"$work/held"
"$work/venv/bin/python" -m pip install --quiet -c "$work/held" -r "$work/held" ".[book,test]"
{
    sed -n '/^#/p' requirements.lock
    # A build tag such as +cpu is this machine's choice, not the book's; packages for a GPU come with torch where wanted.
    "$work/venv/bin/python" -m pip freeze --exclude llasa_lib | sed 's/+[a-z0-9.]*$//' | grep -v -i -E '^(nvidia|cuda|triton)'
} >"$work/lock"
mv "$work/lock" requirements.lock
echo "requirements.lock: $(grep -c == requirements.lock) packages. Now: make test, make book."
