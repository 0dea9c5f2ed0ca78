#!/bin/sh
# Runs on the Pi Zero as root and changes its configuration file; mirrorctl sends this text. POSIX sh, no single quote.
# In: the file path, the service, then (after the file was shown) a word: "restart", or "replace SIZE" and SIZE bytes, or
# "undo SIZE" and SIZE bytes, which leaves the backup alone.
# Out: "mirrorctl", "file SIZE", the file, and a last word that says what state it was left in.
set -u
umask 077
trap "" HUP PIPE # once all is said, it is carried through without the connection
say() { printf "%s\n" "$*"; }
end() {
	rm -rf "$work"
	say "$1"
	exit 0
}
must() { "$@" || end failed; }
size_of() { wc -c <"$1" | tr -d " "; }
# shellcheck disable=SC2012 # the inode number alone is read
inode_of() { ls -i "$1" | sed "s/^ *//; s/ .*//"; }
flush() { sync "$@" 2>/dev/null || sync || :; }
restart() { systemctl restart "$service"; }
back_up() {
	if [ "$word" = undo ]; then return 0; fi
	if [ -e "$path.bak" ]; then cp -p "$path.bak" "$work/bak" || return 1; fi
	mv "$work/copy" "$path.bak"
}
put_back_bak() {
	if [ "$word" = undo ]; then return 0; fi
	if [ -e "$work/bak" ]; then mv "$work/bak" "$path.bak"; else rm -f "$path.bak"; fi
}
is_as_read() { [ "$(inode_of "$path")" = "$inode" ] && cmp -s "$path" "$work/old"; }

IFS= read -r path && IFS= read -r service || exit 1
say mirrorctl
dir=${path%/*}
work=$dir/.mirrorctl.$$

# What a killed run left goes; one that still runs is waited for.
tries=0
for other in "$dir"/.mirrorctl.*; do
	while [ -d "$other" ] && grep -q mirrorctl "/proc/${other##*.}/cmdline" 2>/dev/null; do
		tries=$((tries + 1))
		if [ "$tries" -gt 20 ]; then end busy; fi
		sleep 1
	done
	rm -rf "$other"
done

if [ ! -f "$path" ] || [ -L "$path" ] || [ -d "$path.bak" ]; then end missing; fi
inode=$(inode_of "$path")
must mkdir "$work"
must cp -p "$path" "$work/old"
say "file $(size_of "$work/old")"
cat "$work/old"
IFS=" " read -r word size || word=none
case $word in
restart)
	if restart; then end same; fi
	end down
	;;
replace | undo) ;;
*) end none ;;
esac

# Beside the file, so that one rename replaces it; owner, group and mode are those of the copy.
must cp -p "$work/old" "$work/new"
must cp -p "$work/old" "$work/copy"
if ! cat >"$work/new" || [ "$(size_of "$work/new")" != "$size" ]; then end failed; fi
flush "$work/new" "$work/copy"
if ! back_up; then end failed; fi
if ! is_as_read; then
	put_back_bak
	end changed
fi
inode=$(inode_of "$work/new")
if ! mv "$work/new" "$path"; then
	put_back_bak
	end failed
fi
flush "$dir"
if restart; then end "done"; fi

# The service does not start with it: the old file comes back, unless somebody has written another one meanwhile.
if [ "$(inode_of "$path")" != "$inode" ] || ! mv "$work/old" "$path" || ! put_back_bak; then end stuck; fi
flush "$dir"
if restart; then end undone; fi
end undone-down
