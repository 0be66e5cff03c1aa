# Sourced by the other scripts: makes .venv (once per change of pyproject.toml) and activates it.
#   source scripts/environment.sh EXTRAS        e.g. minilm or dev
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "error: $python is missing or older than 3.11: install Python 3.11 or set PYTHON to one" >&2
    exit 1
fi

# shellcheck disable=SC2034  # read by the caller
[ -x .venv/bin/python ] || "$python" -m venv .venv
stamp=.venv/.installed-$1
if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ] || [ scripts/constraints.txt -nt "$stamp" ]; then
    echo "installing qdrant-ingest[$1] into .venv (a few minutes the first time)" >&2
    # Without bytecode: Python compiles what is imported when it is first imported, a small part of what is installed.
    .venv/bin/python -m pip install --no-compile --quiet --disable-pip-version-check -c scripts/constraints.txt -e ".[$1]"
    touch "$stamp"
fi
unset PYTHONDONTWRITEBYTECODE # or every process would compile torch and Ray anew
export PATH="$PWD/.venv/bin:$PATH"
