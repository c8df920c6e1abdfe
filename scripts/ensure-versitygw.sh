#!/usr/bin/env bash
# The Versity S3 gateway, built once into the cache from tests/servers/versitygw (versions and sums are pinned there).
. "$(dirname "$0")/lib.sh"
PATH="$PATH:/usr/local/go/bin"

module="$ROOT/tests/servers/versitygw"
folder="$CACHE/versitygw-$(cat "$module/go.mod" "$module/go.sum" | sha256sum | cut -c1-16)"
version="$(sed -n 's:.*versity/versitygw v\([0-9.]*\).*:\1:p' "$module/go.mod")"
wanted="$(sed -n 's/^go //p' "$module/go.mod")"

build() {
  cd "$module"
  go build -mod=readonly -trimpath -o "$folder/versitygw.new" github.com/versity/versitygw/cmd/versitygw
}

ensure_go() {
  command -v go >/dev/null || fail go "is missing, and Debian's own is too old for the S3 gateway, which needs $wanted" \
    "install Go $wanted or newer, put it on PATH, then repeat the command"
  local have
  have="$(go env GOVERSION)"
  have="${have#go}"
  [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -n 1)" = "$wanted" ] || [ "$(go env GOTOOLCHAIN)" != local ] ||
    fail go "$have is too old for the S3 gateway, which needs $wanted" "install a newer Go and put it first on PATH"
}

only_one versitygw
if [ ! -x "$folder/versitygw" ]; then
  ensure_go
  step versitygw "building $version with Go (up to a minute)"
  mkdir -p "$folder"
  twice quietly build || fail versitygw "could not be built; the reason stands above"
  mv "$folder/versitygw.new" "$folder/versitygw"
fi
step versitygw "$version"
