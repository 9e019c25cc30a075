#!/usr/bin/env bash
# Runs the tests with each Python named, against the wheel in dist/ as installed:
# from a copy of tests/ that has no submitd beside it.
# usage: tests/packaging/matrix.sh 3.11 3.12 3.13     (those that aren't here are named and left out)
set -eu
cd "$(dirname "$0")/../.."
root=$PWD

interpreter() {
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
}

status=0
for version in "$@"; do
    python=$(interpreter "$version")
    if [ -z "$python" ]; then
        echo "== Python $version: not here"
        continue
    fi
    echo "== Python $version: $python"
    "$python" -m venv --clear ".venv-$version"
    ".venv-$version/bin/python" -m pip install --quiet --disable-pip-version-check \
        "$(echo dist/submitd-*.whl)[test]"

    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    cp -R setup.cfg docs etc tests "$copy"
    cd "$copy"
    # What looks at the tree and not at the package, and what takes minutes, is left out.
    "$root/.venv-$version/bin/python" -m pytest -rs tests \
        --ignore tests/packaging --ignore tests/clients --ignore tests/integration \
        --ignore tests/interop --ignore tests/fuzz --ignore tests/test_standards.py || status=1
    cd "$root"
    rm -rf "$copy"
done
exit $status
