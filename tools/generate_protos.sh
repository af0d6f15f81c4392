#!/bin/bash
# Regenerates the protobuf messages with the one version of the compiler whose output every supported runtime loads
# silently (4.25 to 7): a newer compiler writes a check that refuses older runtimes.
#
#   tools/generate_protos.sh [TARGET]      write below TARGET, by default this repository
#   tools/generate_protos.sh --prepare     only install the compiler
#
# The compiler goes into an environment of its own, kept in .venv-protos; PROTOC_PYTHON names one that has it already.
set -euo pipefail

cd "$(dirname "$0")/.."
if [ "${1:-}" = --prepare ]; then target=; else target="$(realpath "${1:-.}")"; fi
version=1.62.3
python="${PROTOC_PYTHON:-}"

if [ -z "$python" ]; then
    python=.venv-protos/bin/python
    if [ ! -x "$python" ]; then
        # the wheels of that version end with Python 3.12
        for each in python3.11 python3.12; do
            if "$each" -c 'import venv, ensurepip' 2>/dev/null; then
                "$each" -m venv .venv-protos
                break
            fi
        done
        [ -x "$python" ] || { echo "generate_protos: Python 3.11 or 3.12 is needed" >&2; exit 2; }
        "$python" -m pip install --quiet --disable-pip-version-check "grpcio-tools==$version" "setuptools<80" || {
            rm -rf .venv-protos
            echo "generate_protos: cannot install grpcio-tools==$version" >&2
            exit 2
        }
    fi
fi

[ -n "$target" ] || exit 0
"$python" -m grpc_tools.protoc -I. --python_out="$target" --pyi_out="$target" coord/wire/*.proto coord/server/entry.proto
