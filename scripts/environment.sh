# Sourced by the other scripts: makes .venv (once per change of pyproject.toml) and activates it.
#   source scripts/environment.sh EXTRAS        e.g. minilm,formats or dev
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "error: $python is missing or older than 3.11: install Python 3.11 or set PYTHON to one" >&2
    exit 1
fi

install() {
    # Without bytecode: Python compiles what is imported when it is first imported, a small part of what is installed.
    .venv/bin/python -m pip install --no-compile --quiet --disable-pip-version-check -c scripts/constraints.txt "$@"
}

# The CPU build of torch is a tenth of the size of the CUDA build, which Linux gets from PyPI.
install_torch() {
    if ! command -v nvidia-smi >/dev/null; then
        install --retries 0 --timeout 10 --index-url https://download.pytorch.org/whl/cpu torch 2>/dev/null && return
        echo "PyTorch's index of CPU builds does not answer: installing torch from elsewhere, perhaps with CUDA" >&2
        install --dry-run --report - torch | .venv/bin/python scripts/download_size.py >&2 2>/dev/null || true
    fi
    install torch
}

# The tests need Chromium, curl and PostgreSQL, which are no Python packages. Where they cannot be installed, tests say what is missing.
install_programs() {
    local missing=()
    command -v curl >/dev/null || missing+=(curl)
    command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || command -v google-chrome >/dev/null ||
        missing+=(chromium-headless-shell)
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
    if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${missing[@]}"
    fi
}

# shellcheck disable=SC2034  # read by the caller
[ -x .venv/bin/python ] || "$python" -m venv .venv
stamp=.venv/.installed-$1
if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ] || [ scripts/constraints.txt -nt "$stamp" ]; then
    echo "installing qdrant-ingest[$1] into .venv (a minute or two the first time)" >&2
    if [[ ",$1," == *,dev,* ]]; then install_programs >/dev/null 2>&1 & fi # while packages are downloaded
    .venv/bin/python -c 'import torch' 2>/dev/null || install_torch
    # uv installs the rest in a quarter of the time that pip takes.
    install uv
    .venv/bin/uv pip install --quiet --python .venv/bin/python -c scripts/constraints.txt -e ".[$1]"
    wait
    touch "$stamp"
fi
unset PYTHONDONTWRITEBYTECODE # or every process would compile torch and Ray anew
export PATH="$PWD/.venv/bin:$PATH"
