#!/bin/sh
# Run by mmdebstrap (image/relock.sh) with an empty system that has the mirrors' lists: which packages each set comes to.
#   $1 file: set, kind, list, names with commas   $2 directory for the answers   $3 suite   $4 architecture
set -eu
ask=$1 answers=$2 suite=$3 arch=$4
mkdir "$answers"
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" LC_ALL=C

# What mmdebstrap's variant "minbase" asks apt for.
system="?narrow(?or(?archive(^$suite\$),?codename(^$suite\$)),?architecture($arch),?or(?essential,?priority(required)))"

# resolve NAME…: name=version of what apt would install.
resolve() {
  apt-get --simulate install "$@" | sed -n 's/^Inst \([^ :]*\)[^ ]* (\([^ ]*\) .*/\1=\2/p' | sort -u
}

# describe FILE: the lock's lines for its name=version lines.
describe() {
  # shellcheck disable=SC2046 # neither names nor versions hold spaces
  apt-cache show $(cat "$1") | awk -v RS= '{
    n = split($0, lines, "\n")
    for (i = 1; i <= n; i++) if (match(lines[i], /^[A-Za-z0-9-]+: /)) field[substr(lines[i], 1, RLENGTH - 2)] = substr(lines[i], RLENGTH + 1)
    print field["Package"], field["Version"], field["Architecture"], field["SHA256"], field["Size"], field["Filename"]
    delete field
  }' | sort -u -k 1,1 -k 2,2
}

while read -r set kind _ names; do
  names=$(echo "$names" | tr , ' ')
  # shellcheck disable=SC2086 # several names in one variable
  case $kind in
    system)
      resolve "$system" $names >"$answers/$set.names"
      of_base=$names
      ;;
    on-base)
      resolve "$system" $of_base $names >"$answers/$set.all"
      # What the system has already must be the same with these packages on top.
      missing=$(comm -23 "$answers/base.names" "$answers/$set.all")
      [ -z "$missing" ] || { echo "relock: with $set, apt would not install $missing" >&2 && exit 1; }
      comm -13 "$answers/base.names" "$answers/$set.all" >"$answers/$set.names"
      ;;
    only) resolve $names >"$answers/$set.names" ;;
  esac
  describe "$answers/$set.names" >"$answers/$set"
  [ "$(wc -l <"$answers/$set")" -eq "$(wc -l <"$answers/$set.names")" ] || { echo "relock: $set: apt does not describe every package once" >&2 && exit 1; }
done <"$ask"
