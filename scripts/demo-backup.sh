# shellcheck shell=bash disable=SC2154 # what scripts/demo sets is read here
# The demo's chapters on snapshot, backup and restore, with a real PostgreSQL. Read by scripts/demo.

PORT=$((20000 + RANDOM % 20000))
PASSWORD=demo-$RANDOM$RANDOM

as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
uri() { printf 'postgresql://app:%s@127.0.0.1:%d/%s' "$PASSWORD" "$PORT" "$1"; }
sql() { PGPASSWORD=$PASSWORD psql -XqAt -h 127.0.0.1 -p "$PORT" -U app -v ON_ERROR_STOP=1 "$1" -c "$2"; }
# Every row of the table in one order.
rows() { sql "$1" 'SELECT * FROM part_locations ORDER BY order_code COLLATE "C"'; }

# A server of its own in the demo's memory. It ends with the demo, also if that is killed.
start_postgres() {
  local bin
  bin=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1)
  [ -n "$bin" ] || die "there is no PostgreSQL server -> apt-get install postgresql"
  install -d -o postgres -g postgres "$DEMO/pg"
  printf '%s\n' "$PASSWORD" >"$DEMO/pg/password"
  as_postgres "$bin/initdb" -D "$DEMO/pg/data" -U app --pwfile="$DEMO/pg/password" -A scram-sha-256 -E UTF8 \
    --locale=C.UTF-8 --no-sync >"$DEMO/check" 2>&1
  setpriv --reuid=postgres --regid=postgres --init-groups --pdeathsig INT \
    "$bin/postgres" -D "$DEMO/pg/data" -p "$PORT" -k "$DEMO/pg" -c listen_addresses=127.0.0.1 -c fsync=off \
    >"$DEMO/pg.log" 2>&1 &
  postgres=$!
  trap 'kill -INT "$postgres"' EXIT
  for _ in {1..100}; do
    if sql postgres 'SELECT 1' >"$DEMO/check" 2>&1; then return; fi
    sleep 0.1
  done
  die "PostgreSQL does not start: see its log: $(tail -n 3 "$DEMO/pg.log")"
}

backed_up() {
  chapter "12. A snapshot with the database goes to a BACKUP stick"
  start_postgres
  sql postgres 'CREATE DATABASE factory'
  sql factory "CREATE TABLE part_locations (order_code text PRIMARY KEY, location_code text, scanned_at timestamptz);
    INSERT INTO part_locations SELECT 'T-' || n, '第' || n % 7 || '棚', '2026-01-31 02:30+09' FROM generate_series(1, 5000) n"
  export PG_URI
  PG_URI=$(uri factory)
  tool 0 tool-snapshot.sh
  holds "the last line is the handbook's" said "snapshot completed (dry_run=0) dest=$SERVER/snapshots/"
  holds "the password is nowhere in the logs" lacks_password
  make_stick backup.img TM-BACKUP BACKUP
  tool 0 tool-backup-export.sh --device "$device"
  holds "the last line is the handbook's" said "backup export completed archive="
  on_pc listing "The stick:" "$PC"
  say "Any PC can read it, without anything of ours:"
  on_pc holds "sha256sum -c and tar --zstd -xf take the archive" stock_tools
  holds "and unpack what is in the snapshot" diff -r "$DEMO"/stock/* "$SERVER/snapshots/latest/"
}

lacks_password() { ! grep -rqF "$PASSWORD" "$SERVER/logs"; }
stock_tools() {
  mkdir "$DEMO/stock"
  (cd "$PC" && sha256sum -c ./*_full.tar.zst.sha256) && tar --zstd -xf "$PC"/*_full.tar.zst -C "$DEMO/stock"
}

restored() {
  chapter "13. The backup comes back: an empty directory, an empty database"
  tool 0 toolmaster restore --check --device "$device"
  sql postgres 'CREATE DATABASE restored'
  tool 0 toolmaster restore --device "$device" --dest "$DEMO/restored" --pg-uri "$(uri restored)"
  holds "every file is the snapshot's" diff -r "$DEMO/restored" "$SERVER/snapshots/latest/"
  holds "every row of the table is there" diff <(rows factory) <(rows restored)
  say "One bit of the archive turns over on the stick:"
  on_pc flip_a_bit
  tool 2 toolmaster restore --check --device "$device"
}

# Turns a bit over in the middle of the archive, as a worn stick does.
flip_a_bit() {
  local file at byte
  file=$(compgen -G "$PC/*_full.tar.zst")
  at=$(($(stat -c %s "$file") / 2))
  byte=$(od -An -tu1 -j"$at" -N1 "$file")
  printf '%b' "\\x$(printf %02x $((byte ^ 1)))" | dd of="$file" bs=1 seek="$at" conv=notrunc status=none
}
