#!/usr/bin/env bash
# The MariaDB server programs. Tests and the demo start private servers from them; no system service is started.
. "$(dirname "$0")/lib.sh"
PATH="$PATH:/usr/sbin:/usr/local/sbin"

if ! command -v mariadbd >/dev/null || ! command -v mariadb-install-db >/dev/null; then
  apt_install mariadb mariadb-server
fi
step mariadb "$(mariadbd --version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1)"
