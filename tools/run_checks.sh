#!/bin/bash
# Runs the named checks one after the other, all of them whatever happens, and ends with a table; fails if one failed.
#
#   tools/run_checks.sh lint types style unit conformance matrix process pythons sim
#
# JOBS: processes at once (2); SCHEDULES: simulated schedules (100000); RECIPES: of the matrix (all).
# COORD_REQUIRE_REAL_ETCD=1, COORD_REQUIRE_GO=1: a missing etcd, a missing Go client of it, fails.
set -uo pipefail

cd "$(dirname "$0")/.."
bin="$PWD/.venv/bin"
jobs="${JOBS:-2}"
logs="$(mktemp -d)"
trap 'rm -rf "$logs"' EXIT

pytest() { "$bin/python" -m pytest -q --timeout=300 "$@"; }

check_lint() { "$bin/ruff" format --check . && "$bin/ruff" check .; }

check_types() { "$bin/mypy" coord tests benchmarks tools && "$bin/pyright" --pythonpath "$bin/python"; }

check_style() { pytest tests/style; }

check_unit() { pytest -n "$jobs" --dist worksteal tests --ignore tests/conformance --ignore tests/process --ignore tests/matrix; }

# Each worker starts servers of its own; the tests mostly wait for them, so two workers fit on two cores.
check_conformance() { pytest -n "$jobs" --dist worksteal tests/conformance; }

# Who takes turns mostly waits: a killed holder for its TTL, everybody for a server that starts again.
check_matrix() { pytest -n "$((jobs * 2))" --dist worksteal tests/matrix --recipes="${RECIPES:-}"; }

check_process() { pytest tests/process; }

check_sim() {
    local schedules="${SCHEDULES:-100000}" failed=0 name count
    for name in $("$bin/python" -c 'from coord.testing.sim.runner import SCENARIOS; print(*SCENARIOS)'); do
        count="$((schedules / 20))"
        [ "$name" = lock ] && count="$schedules"
        "$bin/python" -m coord.testing.sim "$name" --schedules "$count" --jobs "$jobs" || failed=1
    done
    return "$failed"
}

# The unit tests once more on every other supported Python that is installed here.
check_pythons() {
    local failed=0 version python
    for version in 3.12 3.13; do
        if [ "$("$bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" = "$version" ]; then
            echo "Python $version: it is the one of .venv"
        elif python="$(find_python "$version")"; then
            other_python "$version" "$python" || failed=1
        else
            echo "Python $version: SKIPPED, no interpreter found"
        fi
    done
    return "$failed"
}

find_python() {
    local each
    for each in "python$1" /usr/bin/"python$1" /usr/local/bin/"python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
        if "$each" -c 'import venv, ensurepip' 2>/dev/null; then
            echo "$each"
            return
        fi
    done
    return 1
}

other_python() {
    local venv=".venv-$1"
    if ! cmp -s pyproject.toml "$venv/installed"; then
        "$2" -m venv "$venv" && "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[test]' || {
            echo "Python $1: SKIPPED, the packages cannot be installed for it"
            rm -rf "$venv"
            return 0
        }
        cp pyproject.toml "$venv/installed"
    fi
    echo "Python $1:"
    "$venv/bin/python" -m pytest -q --timeout=300 -n "$jobs" --dist worksteal tests/unit
}

rows=()
status=0
for name in "$@"; do
    echo "--- $name"
    began=$SECONDS
    if "check_$name" 2>&1 | tee "$logs/$name"; then word=ok; else word=FAILED; status=1; fi
    # pytest closes with a line of counts; other tools with a sentence
    closing="$(grep -aE '(passed|failed|error|Success|All checks|schedules).*' "$logs/$name" | tail -n 1 | tr -d '=')"
    rows+=("$(printf '%-12s %-7s %5ds  %s' "$name" "$word" $((SECONDS - began)) "$closing")")
done

echo
echo "=== summary ==="
printf '%s\n' "${rows[@]}"
exit "$status"
