# shellcheck shell=bash
# What goes into an image is locked: image/lock/ has one file for each set of Debian packages, a line for each package: name,
# version, architecture, SHA-256, size, place in the archive's pool. A build takes these packages and no others: from the cache or
# from the mirror, each compared with its SHA-256 before anything opens it.

LOCK=image/lock # or a new lock that is not kept (--or-relock)

# sets: the locked sets of this build, a line each: name, architecture, what apt is asked for, list of packages.
#   system   Debian's required packages and the list      on NAME    the list, on top of what the set NAME has
#   only     the list and what it depends on
sets() {
  local host
  host=$(dpkg --print-architecture)
  printf '%s\n' "base arm64 system image/packages.list" "postgres arm64 only image/packages-postgres.list" \
    "tools-$host $host only image/packages-tools.list"
  printf '%s\n' "$TARGET arm64 on-base image/$TARGET/packages.list"
}

locked() {
  grep -v '^#' "$LOCK/$1" || true
}

# list_id LIST: stands in the lock file's head, so that a list that changed asks for a new lock.
list_id() {
  packages "$1" | sha256sum | cut -c 1-16
}

# fetch_locked: all sets' packages are in the cache, whole, or the build ends.
fetch_locked() {
  local set list missing
  mkdir -p "$CACHE/debs"
  while read -r set _ _ list; do
    [ -f "$LOCK/$set" ] || [ -z "$OR_RELOCK" ] || lock_for_now "$set" </dev/null
    [ -f "$LOCK/$set" ] || die "there is no $LOCK/$set -> run scripts/image --relock on a machine that reaches a mirror"
    grep -q "^# $list $(list_id "$list")\$" "$LOCK/$set" ||
      die "$list has changed since $LOCK/$set was made -> run scripts/image --relock, and look at what it prints"
  done < <(sets)
  missing=$(download_missing)
  check_mirror "$missing"
  if [ -n "$missing" ] && [ -n "$OR_RELOCK" ]; then
    printf 'The mirror no longer has what image/lock names: %s. This build goes by a new lock that is not kept (scripts/image --relock keeps one).\n' \
      "$missing"
    lock_for_now
    missing=$(download_missing)
  fi
  [ -z "$missing" ] || die "neither the cache nor a mirror has: $missing -> connect this machine; if the mirror has newer versions, run scripts/image --relock"
  while read -r set _; do
    check_debs "$set"
  done < <(sets)
  forget_debs
}

# check_mirror MISSING: a file that is not what the mirror's own signed index says of it is no matter for a new lock.
check_mirror() {
  local bad
  bad=$(grep -h -m 1 'Hash Sum mismatch' "$WORK/download.log" 2>/dev/null) || true
  [ -z "$1" ] || [ -z "$bad" ] ||
    die "what the mirror has is not what $LOCK names: $1 (${bad#E: }) -> try again later; if it stays, take another mirror"
}

# lock_for_now [SET]: from here on this build goes by a lock that is not kept: all sets anew, or that one beside the others.
lock_for_now() {
  if [ "$LOCK" = image/lock ]; then
    LOCK=$OUT/lock
    mkdir -p "$LOCK"
    cp image/lock/* "$LOCK/"
  fi
  relock "$LOCK" "$@"
}

# forget_debs: removes from the cache what neither this build's lock nor the project's names any more.
forget_debs() {
  find "$CACHE/debs" -type f -printf '%f\n' | sort |
    comm -23 - <(cat image/lock/* "$LOCK"/* | awk '!/^#/ && NF == 6 { sub(".*/", "", $6); print $6 }' | sort -u) |
    (cd "$CACHE/debs" && xargs -r -d '\n' rm)
}

# missing_debs: the lines of all sets whose file is not in the cache, once each.
missing_debs() {
  local name version arch sha size path
  while read -r name version arch sha size path; do
    [ -f "$CACHE/debs/${path##*/}" ] || printf '%s\n' "$name $version $arch $sha $size $path"
  done < <(sets | while read -r name _; do locked "$name"; done | sort -u)
}

# download_missing: gets them from the default mirrors, one after the other, and prints what none of them has. A file gets its
# name in the cache when it is whole and the right one: a killed download leaves nothing there.
download_missing() {
  local base name version arch sha size path wanted=() new=$WORK/download
  mkdir -p "$new"
  while read -r base; do
    wanted=()
    while read -r name version arch sha size path; do
      wanted+=("$base/$path" "$new/${path##*/}" "SHA256:$sha")
    done < <(missing_debs)
    [ ${#wanted[@]} -gt 0 ] || return 0
    printf 'downloading %d packages\n' $((${#wanted[@]} / 3)) >&2
    # It takes apt's settings (proxies) and goes on after a file that is not there.
    /usr/lib/apt/apt-helper -qq -o APT::Sandbox::User=root download-file "${wanted[@]}" >/dev/null 2>>"$WORK/download.log" || true
    find "$new" -name '*.deb' -exec mv -t "$CACHE/debs" {} +
    rm -f "$new"/*
  done < <(
    debian_sources | awk '!seen[$1]++ { print $1 }'
    # shellcheck disable=SC2153 # of scripts/image
    [ "$TARGET" != rpi5 ] || printf '%s\n' "$ARCHIVE"
  )
  missing_debs | awk 'NR <= 20 { printf "%s%s %s (%s)", sep, $1, $2, $3; sep = ", " } END { if (NR > 20) printf " and %d more", NR - 20 }'
}

# debian_sources: the sources that the distribution's own tools know by default, a line each: address, suite.
debian_sources() {
  mmdebstrap --quiet --variant=custom --arch=arm64 --skip=update,cleanup --format=null \
    --customize-hook="download /etc/apt/sources.list '$WORK/sources.list'" "$SUITE" /dev/null
  sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) \([^ ]*\) main$/\2 \3/p' "$WORK/sources.list"
}

# check_debs SET: each file is the one that the lock names.
check_debs() {
  local bad
  bad=$(locked "$1" | awk '{ sub(".*/", "", $6); print $4 "  " $6 }' | (cd "$CACHE/debs" && sha256sum --check --quiet 2>/dev/null) |
    sed -n 's/: FAILED.*//p') || true
  [ -z "$bad" ] || die "$CACHE/debs/${bad%%$'\n'*} is not the package that $LOCK/$1 names (SHA-256) -> remove it and run this again"
}

# locked_source SET: makes an archive of nothing but the set's packages, and prints the source line for it. apt is told to trust
# it, for each file has just been compared with the lock, which is in the project's history.
locked_source() {
  local archive=$WORK/archive-$1 path file
  check_debs "$1"
  if [ ! -d "$archive" ]; then
    mkdir "$archive"
    while read -r _ _ _ _ _ path; do
      file=${path##*/}
      ln "$CACHE/debs/$file" "$archive/$file" 2>/dev/null || cp "$CACHE/debs/$file" "$archive/$file"
    done < <(locked "$1")
    (
      cd "$archive" || exit
      dpkg-scanpackages --multiversion . 2>/dev/null >Packages
      printf 'Suite: %s\nCodename: %s\nDate: %s\nSHA256:\n %s %s Packages\n' "$SUITE" "$SUITE" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" \
        "$(sha256sum Packages | cut -d ' ' -f 1)" "$(stat -c %s Packages)" >Release
    )
  fi
  printf 'deb [trusted=yes] copy:%s ./\n' "$archive"
}

# check_installed TAR SET…: the system in the tar file has the sets' packages, all and none besides.
check_installed() {
  local tar=$1 set difference
  shift
  tar -xOf "$tar" ./var/lib/dpkg/status | awk '/^Package: / { p = $2 } /^Architecture: / { a = $2 } /^Version: / { print p, $2, a }' |
    sort >"$WORK/installed"
  difference=$(for set in "$@"; do locked "$set"; done | awk '{ print $1, $2, $3 }' | sort | comm -3 --output-delimiter='' - "$WORK/installed")
  [ -z "$difference" ] || die "what is installed differs from $LOCK at: ${difference//$'\n'/, } -> run scripts/image --relock"
}
