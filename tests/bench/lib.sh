# shellcheck shell=bash
# What the benchmarks share. Read with `.`, from the project's root; scripts/bench runs them all.
#
# Each measurement takes turns: ours, the reference, ours … on the same data, so that what else the machine does meets both. A row
# holds the medians of both and the median, least and greatest of the ratios of the pairs.
# ROUNDS is how many pairs; DIR where disks are made; RESULTS a file that gets the rows, `|` between their fields.

. scripts/lib.sh

[ "$(id -u)" -eq 0 ] || die "this needs root, for disks and sticks -> run it as root"
# Mounts in a namespace of their own: nothing of them is seen outside, and they end with this.
if [ -z "${BENCH_INSIDE-}" ]; then
  exec unshare --mount --propagation private env BENCH_INSIDE=yes bash "$0" "$@"
fi

need_packages e2fsprogs rsync zstd time util-linux perl
need_rust
ROUNDS=${ROUNDS:-5}
TARGET=$(uname -m)-unknown-linux-musl
need_target "$TARGET"
need_pi_target
# The program as the Pi has it (scripts/build): static, at a fixed address, without tables for unwinding, with the release's options.
FLAGS=(-Crelocation-model=static "${PI_FLAGS[@]}")
pi_options
export "CARGO_TARGET_$(tr a-z- A-Z_ <<<"$TARGET")_RUSTFLAGS=${FLAGS[*]}"
# The Pi's too, which size.sh looks at: each is mostly compiled on one core, so both at once take the time of one.
cargo build --locked --release --quiet --target "$TARGET" --target "$PI_TARGET"
PROGRAM=$(realpath "${CARGO_TARGET_DIR:-target}/$TARGET/release/toolmaster")

mount -t tmpfs -o mode=0755 tmpfs /run
work=$(mktemp -d "${DIR:-/var/tmp}/toolmaster-bench.XXXXXX")
finish() {
  local status=$? place last
  set +e # what is gone already must not keep the rest from being cleared away
  for last in "${AT_END[@]}"; do "$last"; done
  for place in "$work"/*/; do umount -q "$place" 2>/dev/null; done
  rm -rf --one-file-system "$work"
  exit "$status"
}
# Functions that end what a benchmark has started.
AT_END=()
trap finish EXIT

# ext4 IMAGE LABEL [OPTION…]: nothing of it is left for the kernel to do later.
ext4() { mkfs.ext4 -q -F -L "$2" -E lazy_itable_init=0,lazy_journal_init=0 "${@:3}" "$1"; }

# disk NAME MIB LABEL [OPTION…]: a disk image with ext4 and its loop device, which the kernel takes away when its last user has gone.
declare -A DEVICE
disk() {
  truncate -s "${2}M" "$work/$1.img"
  ext4 "$work/$1.img" "${@:3}"
  DEVICE[$1]=$(losetup --find --show "$work/$1.img")
  # shellcheck disable=SC2034 # it is held open by this shell
  exec {held}<"${DEVICE[$1]}"
  losetup -d "${DEVICE[$1]}"
  mkdir -p "$work/$1"
}

# stick ROLE [OPTION…]: the disk "stick" anew, empty but for its role.
stick() {
  umount -q "$work/stick" 2>/dev/null || true
  ext4 "${DEVICE[stick]}" "TM-$1" "${@:2}"
  mount "${DEVICE[stick]}" "$work/stick"
  mkdir "$work/stick/.toolmaster"
  echo "$1" >"$work/stick/.toolmaster/role"
  umount "$work/stick"
}

# toolmaster ARGUMENTS…: ours, on the server of this benchmark. What it says is kept for the case that it fails.
toolmaster() {
  env -i PATH="$PATH" SERVER_ROOT="$work/server/root" LOCAL_MASTER_DIR="$work/server/terminal/master" \
    LOCAL_DOC_DIR="$work/server/terminal/docviewer" ${PG_URI:+PG_URI="$PG_URI"} "$PROGRAM" "$@" >"$work/said" 2>&1 ||
    die "toolmaster $*: $(tail -n 5 "$work/said")"
}

# database_server: a PostgreSQL server of this benchmark's own, that answers to psql without further ado.
database_server() {
  need_packages postgresql postgresql-client
  local bin
  bin=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1)
  export PGHOST=127.0.0.1 PGPORT=$((20000 + RANDOM % 20000)) PGUSER=app PGCONNECT_TIMEOUT=5
  chmod 755 "$work"
  install -d -o postgres -g postgres "$work/pg"
  local as_postgres=(setpriv --reuid=postgres --regid=postgres --init-groups)
  quietly "${as_postgres[@]}" "$bin/initdb" -D "$work/pg/data" -U app -A trust -E UTF8 --locale=C.UTF-8 --no-sync
  # No function: the shell that it would run in takes no SIGINT.
  "${as_postgres[@]}" --pdeathsig INT "$bin/postgres" -D "$work/pg/data" -p "$PGPORT" -k "$work/pg" -c listen_addresses=127.0.0.1 \
    -c fsync=off -c max_wal_size=1GB >"$work/pg.log" 2>&1 &
  postgres=$!
  # shellcheck disable=SC2317 # called at the end
  end_database() {
    kill -INT "$postgres"
    wait "$postgres"
  }
  AT_END+=(end_database)
  for _ in {1..100}; do
    ! psql -Xqc 'SELECT 1' postgres >"$work/out" 2>&1 || return 0
    sleep 0.1
  done
  die "PostgreSQL does not answer: $(tail -n 5 "$work/pg.log")"
}

# drawings DIRECTORY FILES MIB: a data set: `master` with tables, `docviewer` with drawings that hardly compress, in folders of a hundred,
# most of them small. Their sizes are the same each time.
drawings() {
  perl - "$@" <<'PERL'
use strict; use warnings;
my ($root, $files, $mib) = @ARGV;
my $state = 42;
# `use integer`: without it the product becomes a floating-point number, and each draw the same.
sub next_state { use integer; $state = $state * 6364136223846793005 + 1442695040888963407; return $state >> 33 & 0x7fffffff }
sub chance { return next_state() / 2**31 }
open my $noise, '<', '/dev/urandom' or die $!;
read $noise, my $pool, 32 << 20;
my @weight = map { exp(3 * chance()) } 1 .. $files;
my $sum = 0; $sum += $_ for @weight;
mkdir $root; mkdir "$root/$_" for qw(master docviewer);
for my $n (0 .. $files - 1) {
    my $dir = $n % 10 ? "$root/docviewer/図面" . int($n / 100) : "$root/master/表" . int($n / 1000);
    mkdir $dir;
    my $size = int($weight[$n] / $sum * $mib * 1048576);
    my $text = $n % 10 ? substr($pool, int(chance() * (length($pool) - $size)), $size) : substr("工具$n,棚$n,2026-01-31\n" x (1 + $size / 20), 0, $size);
    open my $file, '>', "$dir/$n" . ($n % 10 ? '.pdf' : '.csv') or die $!;
    print $file $text;
    close $file or die $!;
}
for my $set (qw(master docviewer)) {
    open my $meta, '>', "$root/$set/meta.json" or die $!;
    print $meta '{"updated_at": 1760000000}', "\n";
}
PERL
  find "$1" -exec touch -h -d 2026-01-31T02:30:00Z {} +
}

quietly() { "$@" >"$work/out" 2>&1 || die "$*: $(tail -n 5 "$work/out")"; }

median() { sort -g | awk '{ all[NR] = $1 } END { printf "%.3f", (all[int((NR + 1) / 2)] + all[int(NR / 2) + 1]) / 2 }'; }

# pairs: takes turns between the functions `ours` and `theirs`, each after its `before_…`. Where something else than all of one counts,
# its `time_…` sets TOOK, in seconds.
before_ours() { :; }
before_theirs() { :; }
time_ours() { time_of ours; }
time_theirs() { time_of theirs; }
pairs() {
  local round order which
  : >"$work/ours"
  : >"$work/theirs"
  for ((round = -1; round < ROUNDS; round++)); do
    order=(ours theirs)
    [ $((round % 2)) -eq 0 ] || order=(theirs ours)
    for which in "${order[@]}"; do
      "before_$which"
      sync
      "time_$which"
      [ "$round" -lt 0 ] || echo "$TOOK" >>"$work/$which" # the first pair warms up
    done
  done
}
# few_pairs: of what takes long. many_pairs: of what is so short that whatever else the machine does weighs.
few_pairs() { ROUNDS=$((ROUNDS < 3 ? ROUNDS : 3)) pairs; }
many_pairs() { ROUNDS=$((ROUNDS * 3)) pairs; }
time_of() {
  local begun=$EPOCHREALTIME ended
  "$1"
  ended=$EPOCHREALTIME
  TOOK=$(awk -v a="$begun" -v b="$ended" 'BEGIN { printf "%.6f", b - a }')
}

# row WORK REFERENCE GOAL: the row of the last `pairs`; the goal is the greatest ratio that is good.
row() {
  local ratios
  ratios=$(paste -d' ' "$work/ours" "$work/theirs" | awk '{ print $1 / $2 }' | sort -g)
  put_row "$1" "$(median <"$work/ours") s" "$2: $(median <"$work/theirs") s" "$(median <<<"$ratios")" "$3" \
    "$(head -n 1 <<<"$ratios")–$(tail -n 1 <<<"$ratios")"
}

# no_row WORK WHY GOAL: what can't be measured on this machine.
no_row() {
  printf '%-52s %s\n' "$1" "not measured: $2"
  [ -z "${RESULTS-}" ] || printf '%s|–|%s|–|%s|–|not measured|%s\n' "$1" "$2" "$3" "$(basename "$0" .sh)" >>"$RESULTS"
}

# put_row WORK OURS REFERENCE RATIO GOAL SPREAD
put_row() {
  local met
  met=$(awk -v a="$4" -v b="$5" 'BEGIN { print a + 0 <= b + 0 ? "yes" : "NO" }')
  printf '%-52s %14s  %-38s %8.3f  ≤ %-6s %-14s %s\n' "$1" "$2" "$3" "$4" "$5" "$6" "$met"
  [ -z "${RESULTS-}" ] || printf '%s|%s|%s|%.3f|%s|%s|%s|%s\n' "$1" "$2" "$3" "$4" "$5" "$6" "$met" "$(basename "$0" .sh)" >>"$RESULTS"
}

# peak COMMAND…: KiB that the program itself took at most.
peak() {
  /usr/bin/time -f %M -o "$work/peak" env -i PATH="$PATH" SERVER_ROOT="$work/server/root" LOCAL_MASTER_DIR="$work/server/terminal/master" \
    LOCAL_DOC_DIR="$work/server/terminal/docviewer" ${PG_URI:+PG_URI="$PG_URI"} "$PROGRAM" "$@" >"$work/said" 2>&1 ||
    die "toolmaster $*: $(tail -n 5 "$work/said")"
  tail -n 1 "$work/peak"
}
