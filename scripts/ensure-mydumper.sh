#!/usr/bin/env bash
# mydumper and myloader, the peers of the benchmarks.
. "$(dirname "$0")/lib.sh"

if ! command -v mydumper >/dev/null || ! command -v myloader >/dev/null; then
  apt_install mydumper mydumper
fi
step mydumper "$(mydumper --version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1)"
