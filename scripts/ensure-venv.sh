#!/usr/bin/env bash
# ensure-venv.sh run|dev: .venv with exactly the locked packages, and Tidewind itself in place (editable).
. "$(dirname "$0")/lib.sh"

kind="${1:?run or dev}"
lock="$ROOT/requirements/$kind.lock"
venv="$ROOT/.venv"

find_python() {
  local name
  for name in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  fail python "3.11 or newer is missing" "install it (on Debian 12 and newer: apt-get install python3 python3-venv)," \
    "or name one: PYTHON=/path/to/python make ..."
}

make_venv() {
  local python="$1"
  "$python" -c 'import ensurepip, venv' 2>/dev/null || apt_install python python3-venv
  step venv "making .venv with $("$python" --version)"
  "$python" -m venv --clear "$venv"
}

install_locked() { "$venv/bin/python" -m pip install -q --no-input --require-hashes -r "$lock"; }

install_tidewind() { "$venv/bin/python" -m pip install -q --no-input --no-deps --no-build-isolation -e "$ROOT"; }

have_compiler() { command -v "${CC:-gcc}" >/dev/null && "$venv/bin/python" - <<'PY'
import pathlib, sys, sysconfig
sys.exit(not pathlib.Path(sysconfig.get_paths()["include"], "Python.h").exists())
PY
}

# The development set holds the running set, so either stamp of the development set serves both.
stamp_of() {
  printf '%s/.tidewind-%s-%s' "$venv" "$1" "$(fingerprint "$ROOT/requirements/$1.lock")"
}

packages_ready() {
  [ -x "$venv/bin/python" ] && "$venv/bin/python" -c '' 2>/dev/null || return 1
  [ -e "$(stamp_of dev)" ] || { [ "$kind" = run ] && [ -e "$(stamp_of run)" ]; }
}

# What makes a new build of Tidewind itself necessary: its metadata, and the sources of its C extension.
own_stamp() {
  local sources
  sources="$(cd "$ROOT" && find tidewind services schemas -name '*.c' -o -name '*.h' | LC_ALL=C sort)"
  (
    cd "$ROOT"
    # shellcheck disable=SC2086 # file names of our own, without spaces
    printf '%s/.tidewind-self-%s' "$venv" \
      "$(fingerprint pyproject.toml $([ -e setup.py ] && echo setup.py) $sources)"
  )
}

only_one "venv-$(printf '%s' "$ROOT" | sha256sum | cut -c1-16)"

if ! packages_ready; then
  if ! [ -x "$venv/bin/python" ] || ! "$venv/bin/python" -c '' 2>/dev/null; then
    python="$(find_python)"
    make_venv "$python"
  fi
  step venv "installing the locked packages ($kind)"
  twice quietly install_locked || fail venv "the locked packages could not be installed; the reason stands above"
  rm -f "$venv"/.tidewind-"$kind"-*
  touch "$(stamp_of "$kind")"
fi
self="$(own_stamp)"
if [ ! -e "$self" ] || [ ! -x "$venv/bin/tidewind" ]; then
  have_compiler || apt_install compiler build-essential python3-dev
  step venv "building Tidewind"
  twice quietly install_tidewind || fail venv "Tidewind could not be built; the reason stands above"
  rm -f "$venv"/.tidewind-self-*
  touch "$self"
fi
step venv "$("$venv/bin/python" --version), $kind packages as locked"
