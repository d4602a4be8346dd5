#!/bin/sh
# Type-checks the package as a wheel installs it: only there are flows/ and catalogs/ where mypy looks for them.
# Usage: sh tests/typecheck.sh PYTHON
set -eu
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
root=$(cd "$(dirname "$0")/.." && pwd)
target=$(mktemp -d)
trap 'rm -rf "$target"' EXIT
"$python" -m build --wheel --outdir "$target" "$root" >"$target/build.log"
"$python" -m zipfile --extract "$target"/*.whl "$target/site"
cd "$target/site"
"$python" -m mypy --config-file "$root/pyproject.toml" -p surveycnn
