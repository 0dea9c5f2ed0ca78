#!/usr/bin/env bash
# shellcheck disable=SC2016,SC2317 # names of programs in a table; functions that `pairs` calls
# What has to be carried to the Pi.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/bench/lib.sh

quietly scripts/package
share() { awk -v a="$1" -v b="$2" 'BEGIN { print a / b }'; }
binary=$(stat -c %s target/aarch64-unknown-linux-musl/release/toolmaster)
package=$(find target/debian -name '*.deb' -printf '%s\n' | sort -g | tail -n 1)
put_row 'the program for the Pi' "$binary bytes" '2 MiB' "$(share "$binary" $((2 << 20)))" 1.0 ''
put_row 'the package' "$package bytes" '1 MiB' "$(share "$package" $((1 << 20)))" 1.0 ''
