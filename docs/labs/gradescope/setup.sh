#!/usr/bin/env bash
# Runs once, as Gradescope builds the image: a Python that is new enough, and the wheel that lies beside this file.
set -euo pipefail
root="${AUTOGRADER:-/autograder}"
python=python3
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    apt-get update
    apt-get install -y python3.11 python3.11-venv
    python=python3.11
fi
"$python" -m venv "$root/venv" || { apt-get update && apt-get install -y python3-venv && "$python" -m venv "$root/venv"; }
"$root/venv/bin/python" -m pip install numpy
"$root/venv/bin/python" -m pip install --no-deps "$root"/source/npmnv2-*.whl # all that the labs need
