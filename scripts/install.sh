#!/bin/sh
# Make .venv and install the pinned set into it.   scripts/install.sh [PYTHON]
set -eu
cd "$(dirname "$0")/.."
python=${1:-python3}
log=.venv/install.log

stop() {
    echo "einthoven: $1" >&2
    exit 1
}

command -v "$python" >/dev/null ||
    stop "there is no '$python' here: install Python 3.11 or newer, or name yours: make PYTHON=/path/to/python"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    stop "Python 3.11 or newer is needed, '$python' is $("$python" -V 2>&1); name a newer one: make PYTHON=python3.12"

if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    "$python" -m venv --clear .venv ||
        stop "could not make .venv with '$python -m venv' (on Debian: apt-get install python3-venv)"
fi

# torch is asked for by its exact version, which takes a CPU build where one is offered.
torch=$(grep '^torch==' constraints.txt)
install() {
    PIP_DEFAULT_TIMEOUT=${PIP_DEFAULT_TIMEOUT:-60} .venv/bin/python -m pip install --disable-pip-version-check --retries 5 \
        --constraint constraints.txt "$torch" --editable '.[dev]' >"$log" 2>&1
}

echo "Installing einthoven's pinned set into .venv: a few minutes, once ..."
install || { echo "The first attempt failed; trying once more ..." && install; } || {
    grep -E '^ *(ERROR|error)' "$log" | tail -n 3 >&2 || true
    stop "the install failed; all that pip said is in $log"
}
touch .venv/.ready
