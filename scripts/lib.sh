# Sourced by the scripts of this folder: one line per step, retries, stamps, and apt without starting services.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/tidewind"

step() { printf '  %-11s %s\n' "$1" "$2"; }

fail() {
  printf '\n  %-11s %s\n' "$1" "$2" >&2
  shift 2
  for line in "$@"; do printf '  %-11s %s\n' "" "$line" >&2; done
  exit 1
}

# Registries fail now and then: a download is tried twice before it counts as failed.
twice() {
  "$@" && return 0
  printf '  %-11s %s\n' "again" "$1 failed, trying once more" >&2
  "$@"
}

# A build's output belongs on the screen only when it failed.
quietly() {
  local log
  log="$(mktemp)"
  if "$@" >"$log" 2>&1; then
    rm -f "$log"
    return 0
  fi
  tail -n 40 "$log" >&2
  rm -f "$log"
  return 1
}

# Several scripts may want the same thing at once (make demo beside make test): one does it, the others wait.
# The lock ends with the script.
only_one() {
  local lock
  mkdir -p "$CACHE"
  exec {lock}>"$CACHE/.lock-$1"
  flock "$lock"
}

fingerprint() { sha256sum "$@" | sha256sum | cut -c1-16; }

# apt_install WHAT PACKAGE...: installs as root, and otherwise names the line to run.
apt_install() {
  local what="$1"
  shift
  local line="apt-get install -y --no-install-recommends $*"
  command -v apt-get >/dev/null || fail "$what" "is missing, and there is no apt-get here" \
    "install it with this system's package manager (Debian calls it: $*), then run this again"
  if [ "$(id -u)" != 0 ]; then
    fail "$what" "is missing; run this, then repeat the command:" "sudo $line"
  fi
  step "$what" "installing $* with apt (about a minute)"
  only_one apt
  without_starting_services twice quietly apt_get_install "$@" ||
    fail "$what" "could not be installed" "try by hand: apt-get update && $line"
}

apt_get_install() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get -o DPkg::Lock::Timeout=300 update -q &&
    apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends "$@"
}

# Debian starts a database as soon as it is installed; Tidewind only needs the programs. policy-rc.d is Debian's own
# way to say so, and is taken away again afterwards.
without_starting_services() {
  local policy=/usr/sbin/policy-rc.d status=0
  if [ -e "$policy" ]; then
    "$@"
    return
  fi
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  "$@" || status=$?
  rm -f "$policy"
  trap - EXIT
  return "$status"
}
