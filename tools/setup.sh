#!/usr/bin/env bash
# Make the virtual environment at $1 from this checkout: Python >= 3.11, a C compiler, the headers.
# What is missing is named by its Debian package; as root on Debian it is installed instead.
set -euo pipefail
venv=$1

fail() {
    echo "setup: $*" >&2
    exit 1
}

need() { # need PACKAGE WHAT: install the package, or say that it is missing
    local package=$1 what=$2
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "setup: installing $package ($what is missing)"
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update -qq && apt-get install -qq --no-install-recommends "$package"; } \
            </dev/null >"$log" 2>&1 || { tail -n 20 "$log" >&2; fail "could not install $package"; }
    else
        fail "$what is missing; install it with: sudo apt-get install $package"
    fi
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for name in python3.11 python3 python3.12 python3.13; do
        if command -v "$name" >/dev/null && new_enough "$name"; then
            echo "$name"
            return
        fi
    done
}

can_make_venv() {
    "$python" -c 'import ensurepip, venv' 2>/dev/null
}

has_headers() {
    "$python" -c 'import pathlib, sysconfig as s, sys
sys.exit(not pathlib.Path(s.get_path("include"), "Python.h").is_file())'
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT

python=$(find_python)
if [ -z "$python" ]; then
    need python3 "Python 3.11 or newer"
    python=$(find_python)
    [ -n "$python" ] || fail "this system offers no Python 3.11 or newer; install one first"
fi
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
can_make_venv || need "python$version-venv" "Python's venv module"
command -v gcc >/dev/null || command -v cc >/dev/null || need gcc "a C compiler"
printf '#include <stdlib.h>\n' | "$(command -v gcc || command -v cc)" -E - >/dev/null 2>&1 \
    || need libc6-dev "the C library's headers"
has_headers || need "python$version-dev" "Python.h"

echo "setup: building into $venv with Python $version (a minute or two, the first time)"
[ -x "$venv/bin/python" ] && "$venv/bin/python" -c 'import pip' 2>/dev/null \
    || "$python" -m venv --clear "$venv"
# The kernels are rebuilt from what is there now, never from an older build's leftovers.
rm -f cython_ext/*.so
"$venv/bin/python" -m pip install -q --editable '.[test,plot]' </dev/null >"$log" 2>&1 \
    || { tail -n 40 "$log" >&2; fail "pip could not install the project; its last words are above"; }
"$venv/bin/python" -c 'import cython_ext; assert cython_ext.IMPLEMENTATION == "compiled"' \
    || fail "the compiled kernels do not load"
