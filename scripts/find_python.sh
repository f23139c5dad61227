# Prints the first Python 3.11, 3.12 or 3.13 that can make a virtual environment: $PYTHON, or what is on the path.
# To be read by a shell: . scripts/find_python.sh
find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        # A name on the path may be a shim that leads nowhere, so each is asked.
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
            >/dev/null 2>&1; then
            echo "$candidate"
            return 0
        fi
    done
    echo "No usable Python${PYTHON:+ at $PYTHON}: the book needs Python 3.11, 3.12 or 3.13 with the venv module" \
        "(on Debian and Ubuntu: the package python3-venv). Name one with: make setup PYTHON=/path/to/python3.12" >&2
    return 1
}
