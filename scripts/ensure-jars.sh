#!/usr/bin/env bash
# Java servers of the tests, fetched with their dependencies by Maven into the cache: Apache Kafka and S3Proxy.
. "$(dirname "$0")/lib.sh"

ensure_java() {
  local missing=()
  command -v java >/dev/null || missing+=(default-jre-headless)
  command -v mvn >/dev/null || missing+=(maven)
  [ "${#missing[@]}" = 0 ] || apt_install java "${missing[@]}"
  local major
  major="$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)"
  [ "${major:-0}" -ge 17 ] || fail java "version ${major:-unknown} is too old for Apache Kafka 4, which needs 17" \
    "install a Java 17 runtime (Debian calls it openjdk-17-jre-headless) and put it first on PATH"
}

fetch() { # NAME POM FOLDER
  mvn -B -q --strict-checksums -f "$2" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$3/lib"
}

ensure() { # NAME
  local pom="$ROOT/tests/servers/$1/pom.xml" folder version
  folder="$CACHE/$1-$(sha256sum "$pom" | cut -c1-16)"
  version="$(sed -n '/<dependency>/,$s:.*<version>\(.*\)</version>.*:\1:p' "$pom" | head -n 1)"
  if [ ! -e "$folder/complete" ]; then
    ensure_java
    step "$1" "fetching $version from Maven's repository"
    rm -rf "$folder"
    mkdir -p "$folder"
    twice quietly fetch "$1" "$pom" "$folder" || fail "$1" "could not be fetched; the reason stands above"
    touch "$folder/complete"
  fi
  step "$1" "$version"
}

only_one jars
ensure kafka
ensure s3proxy
command -v java >/dev/null || ensure_java
