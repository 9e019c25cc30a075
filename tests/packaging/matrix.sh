#!/usr/bin/env bash
# Runs the tests with each Python named, all at the same time, against the wheel in dist/ as
# installed: from a copy of tests/ that has no submitd beside it.
# usage: tests/packaging/matrix.sh 3.11 3.12 3.13     (those that aren't here are named and left out)
set -eu
cd "$(dirname "$0")/../.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

interpreter() {
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
}

check() { # check VERSION PYTHON
    "$2" -m venv --clear ".venv-$1"
    ".venv-$1/bin/python" -m pip install --quiet --disable-pip-version-check \
        "$(echo dist/submitd-*.whl)[test]"
    mkdir "$work/$1"
    cp -R setup.cfg docs etc tests "$work/$1"
    cd "$work/$1"
    # What looks at the tree and not at the package, and what takes minutes, is left out.
    "$root/.venv-$1/bin/python" -m pytest -rs tests \
        --ignore tests/packaging --ignore tests/clients --ignore tests/integration \
        --ignore tests/interop --ignore tests/fuzz \
        --ignore tests/test_standards.py --ignore tests/test_links.py
}

jobs=""
for version in "$@"; do
    python=$(interpreter "$version")
    if [ -z "$python" ]; then
        echo "== Python $version: not here"
        continue
    fi
    check "$version" "$python" >"$work/$version.log" 2>&1 &
    jobs="$jobs $version:$!"
done

status=0
for job in $jobs; do
    wait "${job#*:}" || status=1
    echo "== Python ${job%%:*}"
    cat "$work/${job%%:*}.log"
done
exit $status
