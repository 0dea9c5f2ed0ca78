#!/bin/sh
# Keeps the contract of the official PostgreSQL image, as far as docker-compose.yml uses it: POSTGRES_USER, POSTGRES_DB,
# POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE, POSTGRES_INITDB_ARGS, PGDATA; the first start makes the cluster.
set -eu

fail() {
  echo "docker-entrypoint: $*" >&2
  exit 1
}

if [ "$1" != postgres ]; then
  exec "$@"
fi

if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" /run/postgresql
  chown postgres:postgres "$PGDATA" /run/postgresql
  chmod 0700 "$PGDATA"
  chmod 3775 /run/postgresql
  # Compose binds the password's file as it is on the host, readable for root alone.
  if [ -n "${POSTGRES_PASSWORD_FILE-}" ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    [ -r "$POSTGRES_PASSWORD_FILE" ] || fail "$POSTGRES_PASSWORD_FILE can't be read -> give it to the container"
    POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
    export POSTGRES_PASSWORD
  fi
  exec setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@"
fi

# The cluster is made in a directory of its own and moved up, PG_VERSION last: a start that was cut off leaves no PG_VERSION,
# and the next one begins anew. Nobody can have stored anything by then.
make_cluster() {
  new=$PGDATA/.new
  user=${POSTGRES_USER:-postgres}
  database=${POSTGRES_DB:-$user}
  [ -n "${POSTGRES_PASSWORD-}" ] || fail "no password -> set POSTGRES_PASSWORD_FILE"
  if [ -d "$new" ]; then
    find "$PGDATA" -mindepth 1 -maxdepth 1 ! -name .new -exec rm -rf {} +
    rm -rf "$new"
  elif [ -n "$(ls -A "$PGDATA")" ]; then
    fail "$PGDATA is not empty and holds no cluster: its PG_VERSION is missing -> restore it, or give an empty volume"
  fi
  mkdir -m 0700 "$new"
  (umask 077 && printf "%s\n" "$POSTGRES_PASSWORD" >"$new/password")
  # shellcheck disable=SC2086 # several arguments in one variable, as in the official image
  initdb --pgdata="$new/data" --username="$user" --pwfile="$new/password" --auth-local=trust --auth-host=scram-sha-256 \
    --encoding=UTF8 --no-sync --no-instructions ${POSTGRES_INITDB_ARGS-}
  rm "$new/password"
  echo 'host all all all scram-sha-256' >>"$new/data/pg_hba.conf"
  echo "listen_addresses = '*'" >>"$new/data/postgresql.conf"
  if [ "$database" != postgres ]; then
    printf 'CREATE DATABASE "%s";\n' "$(printf %s "$database" | sed 's/"/""/g')" |
      postgres --single -D "$new/data" -j postgres >/dev/null
  fi
  find "$new/data" -mindepth 1 -maxdepth 1 ! -name PG_VERSION -exec mv {} "$PGDATA" \;
  sync -f "$PGDATA"
  mv "$new/data/PG_VERSION" "$PGDATA"
  sync -f "$PGDATA"
  rmdir "$new/data"
}

[ -s "$PGDATA/PG_VERSION" ] || make_cluster
unset POSTGRES_PASSWORD
[ ! -d "$PGDATA/.new" ] || rm -rf "$PGDATA/.new"
[ "$(cat "$PGDATA/PG_VERSION")" = "$PG_MAJOR" ] ||
  fail "the volume holds a cluster of PostgreSQL $(cat "$PGDATA/PG_VERSION"), this is $PG_MAJOR -> dump it with the old version and restore"
exec "$@"
