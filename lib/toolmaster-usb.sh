# shellcheck shell=sh
# /usr/local/lib/toolmaster-usb.sh: sticks for a site's own scripts, in POSIX sh. Thin over the program `toolmaster`, which
# does the work and says on stderr what went wrong.
#
#   . /usr/local/lib/toolmaster-usb.sh
#   place=$(usb_mount_device /dev/sda1) || exit
#   usb_validate_role "$place" INGEST TM-INGEST || { usb_unmount "$place"; exit 2; }
#
# A job that starts for the stick meanwhile ends the mount.

# usb_log LEVEL MESSAGE...: a line in the journal and on the terminal. LEVEL: info, warn or error. A log that can't be
# written never stops a script, so this always succeeds.
usb_log() {
	if [ "$#" -lt 2 ]; then
		echo 'usage: usb_log LEVEL MESSAGE...' >&2
		return 0
	fi
	toolmaster log -- "$@" || :
}

# usb_mount_device DEV: mounts it below /run/toolmaster and prints where; it stays mounted. For writing only if its label
# and role are one of the three kinds' and it is not write-protected.
usb_mount_device() {
	if [ "$#" -ne 1 ]; then
		echo 'usage: usb_mount_device DEV' >&2
		return 64
	fi
	toolmaster stick mount -- "$1"
}

# usb_unmount MOUNTPOINT: writes out what is still in memory and unmounts it, trying USB_MAX_RETRY times.
usb_unmount() {
	if [ "$#" -ne 1 ]; then
		echo 'usage: usb_unmount MOUNTPOINT' >&2
		return 64
	fi
	toolmaster stick unmount -- "$1"
}

# usb_validate_role MOUNTPOINT ROLE [LABEL]: 0 if the stick mounted there has that role and that label (without LABEL: the
# role's own); 3 if no stick is mounted there; 2 if it is another one or can't be validated.
usb_validate_role() {
	if [ "$#" -lt 2 ] || [ "$#" -gt 3 ]; then
		echo 'usage: usb_validate_role MOUNTPOINT ROLE [LABEL]' >&2
		return 2
	fi
	toolmaster stick validate -- "$@" || case $? in
	3) return 3 ;;
	*) return 2 ;;
	esac
}
