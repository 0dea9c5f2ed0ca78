# shellcheck shell=bash
# The PostgreSQL container image, as an archive for `docker load`: the official one by its digest, or a
# stand-in with the same contract from Debian's packages: image/lock/container says which.

make_container() {
  local locked
  locked=$(locked container)
  CONTAINER=$CACHE/postgres-$(key image/packages-postgres.list image/container.sh image/postgres/* "$LOCK/postgres" "$locked" "$SUITE")
  if ! kept "$CONTAINER"; then
    mkdir "$WORK/container"
    case $locked in
      stand-in)
        echo "stand-in from Debian $SUITE's postgresql-17" >"$WORK/container/source"
        stand_in "$WORK/container/postgres.tar"
        ;;
      *)
        echo "official image $locked" >"$WORK/container/source"
        official_container "$locked" "$WORK/container/postgres.tar"
        ;;
    esac
    container_id "$WORK/container/postgres.tar" >"$WORK/container/postgres.id"
    tool zstd -q -19 -T2 --rm "$WORK/container/postgres.tar"
    keep "$WORK/container" "$CONTAINER"
    forget_old postgres "${CONTAINER##*/}"
  fi
  CONTAINER_SOURCE=$(<"$CONTAINER/source")
  printf '%s: %s, %s bytes\n' "$CONTAINER_SOURCE" "$(<"$CONTAINER/postgres.id")" "$(stat -c %s "$CONTAINER/postgres.tar.zst")"
}

# official_container NAME@DIGEST FILE: skopeo compares all that it gets with the digest.
official_container() {
  tool skopeo --insecure-policy --override-os linux --override-arch arm64 copy --quiet "docker://$1" "docker-archive:$2:postgres:17" ||
    die "the container image $1 can't be had -> connect this machine to its registry, or write stand-in into image/lock/container"
}

# The name under which docker knows it after loading: the digest of its configuration.
container_id() {
  tar -xOf "$1" manifest.json | sed -n 's/.*"Config":"\([0-9a-f]\{64\}\)\.json".*/sha256:\1/p'
}

# stand_in FILE: Debian's packages, only unpacked (no emulation), without what the server can do without: documentation,
# translations, perl with Debian's wrappers, and the compiler of the JIT, which PostgreSQL leaves out when it is not there.
stand_in() {
  local history source created tree=$WORK/pg layout=$WORK/oci
  created=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
  history=(--history.created "$created")
  source=$(locked_source postgres)
  nice mmdebstrap --quiet --variant=extract --arch=arm64 --include="$(packages image/packages-postgres.list)" "$SUITE" "$WORK/pg.tar" "$source"
  mkdir -p "$tree"
  mmtarfilter --path-exclude='/usr/share/doc/*' --path-exclude='/usr/share/man/*' --path-exclude='/usr/share/locale/*' \
    --path-exclude='/usr/share/i18n/*' --path-exclude='/usr/share/info/*' --path-exclude='/usr/share/perl*' \
    --path-exclude='*/perl*' --path-exclude='*/libperl*' --path-exclude='*/libLLVM*' --path-exclude='*/libz3*' \
    --path-exclude='*/bitcode/*' --path-exclude='*/llvmjit*' --path-exclude='/usr/lib/systemd/*' --path-exclude='/dev/*' \
    --path-exclude='/usr/lib/python3*' --path-exclude='*/libsqlite3*' --path-exclude='/usr/lib/*/gconv/*' \
    --path-exclude='/usr/share/bash-completion/*' --path-exclude='/var/cache/*' --path-exclude='/var/lib/apt/*' \
    --path-exclude='/var/lib/dpkg/info/*' --path-exclude='/etc/apt/*' --path-exclude='/usr/lib/*/libpython*' \
    <"$WORK/pg.tar" | tar -C "$tree" --no-same-owner -x
  rm "$WORK/pg.tar"
  install -D -m 755 image/postgres/entrypoint.sh "$tree/usr/local/bin/docker-entrypoint.sh"
  install -m 644 image/postgres/passwd image/postgres/group "$tree/etc/"
  rm -f "$tree/etc/resolv.conf" "$tree/etc/hostname"
  mkdir -p "$tree/var/lib/postgresql/data" "$tree/dev" "$tree/proc" "$tree/sys" "$tree/tmp" "$tree/run"
  ln -sfn dash "$tree/usr/bin/sh"
  rm -rf "$tree/var/run"
  ln -sfn /run "$tree/var/run"
  chmod 1777 "$tree/tmp"
  mkdir -p "$tree/var/lib/dpkg"
  unpacked_status <"$WORK/archive-postgres/Packages" >"$tree/var/lib/dpkg/status"
  tar -C "$tree" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=posix \
    --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime -cf "$WORK/layer.tar" .

  tool umoci init --layout "$layout"
  tool umoci new --image "$layout:17"
  tool umoci raw add-layer "${history[@]}" --image "$layout:17" "$WORK/layer.tar"
  tool umoci config "${history[@]}" --created "$created" --image "$layout:17" --architecture arm64 --os linux \
    --config.entrypoint docker-entrypoint.sh --config.cmd postgres --config.stopsignal SIGINT \
    --config.exposedports 5432/tcp --config.volume /var/lib/postgresql/data \
    --config.env PATH=/usr/local/bin:/usr/lib/postgresql/17/bin:/usr/bin:/usr/sbin \
    --config.env LANG=C.UTF-8 --config.env PG_MAJOR=17 --config.env PGDATA=/var/lib/postgresql/data
  tool umoci gc --layout "$layout"
  tool skopeo --insecure-policy copy --quiet "oci:$layout:17" "docker-archive:$1:postgres:17"
}

# unpacked_status: an archive's index as dpkg's status file, so that the container says itself what it was made from.
unpacked_status() {
  awk '/^(Filename|Size|MD5sum|SHA1|SHA256):/ { next } { print } /^Package:/ { print "Status: install ok unpacked" }'
}
