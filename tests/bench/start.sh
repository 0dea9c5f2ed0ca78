#!/usr/bin/env bash
# shellcheck disable=SC2016,SC2317 # names of programs in a table; functions that `pairs` calls
# Start-up beside a static program that says hello.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/bench/lib.sh

cat >"$work/hello.rs" <<'RUST'
fn main() {
    println!("hello");
}
RUST
rustc --target "$TARGET" "${FLAGS[@]}" -C opt-level=z -C panic=abort -C lto -C strip=symbols -C linker=rust-lld -o "$work/hello" "$work/hello.rs"
times() { for _ in {1..200}; do "$@" >/dev/null; done; }
ours() { times "$PROGRAM" --help; }
theirs() { times "$work/hello"; }
many_pairs
row 'start 200 times (`--help`)' 'hello world' 1.5
