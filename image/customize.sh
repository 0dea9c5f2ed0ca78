#!/bin/sh
# Runs on the build machine with the root directory as its argument, after the overlay was laid over it.
set -eu
root=$1

chroot "$root" dpkg --install --force-confold /toolmaster.deb
rm "$root/toolmaster.deb"

# Of this machine, of this build, or drawn at random: none of it belongs into an image.
rm -f "$root"/etc/ssh/ssh_host_* "$root"/etc/resolv.conf "$root"/var/lib/systemd/random-seed "$root"/var/lib/dbus/machine-id
rm -rf "$root"/var/log/journal "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/log/apt "$root"/var/cache/ldconfig
rm -f "$root"/var/log/*.log "$root"/etc/*- "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old
ln -s ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
# Not empty: only this word makes the first boot a first boot, which makes the ssh host keys and applies the presets.
echo uninitialized >"$root/etc/machine-id"
ln -sf ../usr/share/zoneinfo/Asia/Tokyo "$root/etc/localtime"
echo Asia/Tokyo >"$root/etc/timezone"

# One would ask questions on a console that nobody sees; the other would wait for a network that may never come.
for unit in systemd-firstboot systemd-networkd-wait-online; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit.service"
done
chroot "$root" systemctl preset-all
# Answers to connections from a host that runs this as its guest; it fails where there is none.
mkdir -p "$root/etc/systemd/system-generators"
ln -sf /dev/null "$root/etc/systemd/system-generators/systemd-ssh-generator"
# The caches that depend on /usr (libraries, message catalogue, users) are made already: says so, or the first boot makes them again.
for directory in etc var; do
  printf 'TIMESTAMP_NSEC=%s000000000\n' "$SOURCE_DATE_EPOCH" >"$root/$directory/.updated"
  touch -d "@$SOURCE_DATE_EPOCH" "$root/$directory/.updated"
done
touch -d "@$SOURCE_DATE_EPOCH" "$root/usr"
