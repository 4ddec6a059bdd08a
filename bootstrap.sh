#!/bin/sh
# Builds .venv beside this file: swarmproxy in place, with what its development needs. Called by make.
# A bare Debian or Ubuntu has no Python or one without venv; as root that is put right, else said.
set -eu
cd "$(dirname "$0")"

find_python() {
    for python in python3 python3.13 python3.12 python3.11; do
        if "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$python"
            return 0
        fi
    done
    return 1
}

apt_install() {
    echo "apt: $*" >&2
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@" >&2
}

if ! python=$(find_python); then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "Needs Python 3.11 or newer with its venv module (Debian, Ubuntu: apt install python3 python3-venv)." >&2
        exit 1
    fi
    apt-get -qq -o DPkg::Lock::Timeout=300 update >&2
    apt_install python3 python3-venv
    # Ubuntu 22.04: python3 is 3.10, a newer one lies beside it.
    python=$(find_python) || { apt_install python3.11 python3.11-venv && python=$(find_python); }
fi

# One that was copied, or whose Python is gone, does not know its own place.
if [ "$(.venv/bin/python -c 'import sys; print(sys.prefix)' 2>/dev/null)" != "$PWD/.venv" ]; then
    "$python" -m venv --clear .venv
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
touch .venv/.built
