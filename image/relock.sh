# shellcheck shell=bash
# Makes a new lock from what the mirrors have now, and tells how it differs from the old one.

# What a target adds to the mirrors' lists: mmdebstrap's words for further sources (image/rpi5/archive.sh).
MORE_SOURCES=()

# relock DIRECTORY [SET]: writes the lock files there, or that set's alone. apt resolves as it does in the build: with
# mmdebstrap's settings, from nothing.
relock() {
  local directory=$1 only=${2-} set arch kind list arches more
  arches=$(sets | awk '{ print $2 }' | sort -u)
  for arch in $arches; do
    sets | awk -v arch="$arch" '$2 == arch' | while read -r set _ kind list; do
      printf '%s %s %s %s\n' "$set" "$kind" "$list" "$(packages "$list")"
    done >"$WORK/ask-$arch"
    more=()
    [ "$arch" != arm64 ] || more=("${MORE_SOURCES[@]}")
    # Not quiet: then it would not say which signature is wrong.
    mmdebstrap --variant=custom --arch="$arch" --aptopt='APT::Install-Recommends "false"' --format=null "${more[@]}" \
      --customize-hook="sh image/relock-hook.sh '$WORK/ask-$arch' \"\$1/resolved\" $SUITE $arch" \
      --customize-hook="copy-out /resolved '$WORK'" "$SUITE" /dev/null ||
      die "the mirrors' lists can't be read (the lines above say which, and whether a signature is wrong) -> connect this machine to a mirror and run this again"
  done
  while read -r set _ _ list; do
    [ -z "$only" ] || [ "$only" = "$set" ] || continue
    {
      printf '# Made by scripts/image --relock: package, version, architecture, SHA-256, size, file. Made from the names in\n'
      printf '# %s %s\n' "$list" "$(list_id "$list")"
      cat "$WORK/resolved/$set"
    } >"$WORK/new-lock"
    print_difference "$set" "$directory/$set"
    mv "$WORK/new-lock" "$directory/$set"
  done < <(sets)
}

# print_difference SET OLD: package, old version, new version; `-` is none.
print_difference() {
  local old=$2
  [ -f "$old" ] || old=/dev/null
  awk -v set="$1" '
    /^#/ { next }
    FILENAME != ARGV[2] { old[$1] = $2; sha[$1] = $4; next }
    { new[$1] = $2; n++ }
    $1 in old && old[$1] == $2 && sha[$1] != $4 { print set ": " $1 " " $2 ": the same version, OTHER CONTENTS" }
    END {
      for (p in old) if (!(p in new)) print set ": " p " " old[p] " -> -"
      for (p in new) if (!(p in old)) print set ": " p " - -> " new[p]; else if (old[p] != new[p]) print set ": " p " " old[p] " -> " new[p]
      print set ": ~ " n " packages"
    }' "$old" "$WORK/new-lock" | LC_ALL=C sort | sed 's/: ~ /: /'
}

# relock_rust FILE: the compiler that this machine uses. cargo-deb's version is changed by hand.
relock_rust() {
  local old new
  need_rust
  old=$(locked_rust rustc) new=$(rustc --version)
  new=${new#rustc }
  [ "$old" = "$new" ] || printf 'rust: rustc %s -> %s\n' "$old" "$new"
  sed -i "s/^rustc .*/rustc $new/" "$1"
}
