#!/usr/bin/env bash
# Compile requirements/*.lock from pyproject.toml: every package pinned with its hashes, no registry named.
# Versions stay as they are unless pyproject.toml forbids them; lock.sh --upgrade takes the newest.
. "$(dirname "$0")/lib.sh"

find_uv() {
  local candidate
  for candidate in "$(command -v uv || true)" "$ROOT/.venv/bin/uv" "$CACHE/uv/bin/uv"; do
    if [ -n "$candidate" ] && [ -x "$candidate" ]; then
      printf '%s' "$candidate"
      return
    fi
  done
  python3 -m venv "$CACHE/uv" && "$CACHE/uv/bin/pip" install -q uv && printf '%s' "$CACHE/uv/bin/uv"
}

compile() { # NAME, then options
  local name="$1"
  shift
  step lock "requirements/$name.lock"
  twice quietly "$uv" pip compile pyproject.toml requirements/build.in "$@" --universal --python-version 3.11 \
    --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --output-file "requirements/$name.lock"
}

uv="$(find_uv)"
cd "$ROOT"
compile run --extra demo "$@"
compile dev --extra dev "$@"
