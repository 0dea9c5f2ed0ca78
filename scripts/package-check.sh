# shellcheck shell=bash
# The steps of scripts/package-check, and what each must leave. Run as root in a mount namespace of its own.

SETTINGS=etc/default/toolmaster
UNITS=(toolmaster-site.service toolmaster-provision.service raspi-server.service toolmaster-ready.target tool-snapshot.timer tool-restore-drill.timer
  mirror-compare.timer usb-ingest@.service)
NAMES=(tool-ingest-sync.sh tool-dist-export.sh tool-dist-sync.sh tool-backup-export.sh tool-snapshot.sh mirrorctl mirror_compare.py)
# What dpkg and apt keep for themselves, what the kernel gives, and what is brought in here.
BOOKKEEPING=$'^(|proc|dev|sys|root|tmp|run/systemd|var/lib/dpkg|var/lib/apt|var/cache|var/log)(/|\t)'
# What is the site's and not the package's.
SITES='(srv|mnt|etc/toolmaster|etc/mirrorctl|var/lib/mirror)'

step() {
  STEP=$1
  printf '== %3d s  %s\n' $SECONDS "$STEP"
}

wrong() {
  die "$STEP: $*"
}

# on COMMAND…: types it on the Pi; what it says is in $SAID. Of its own accord systemctl sees no chroot in a mount namespace.
on() {
  chroot "$ROOT" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    QEMU_CPU="$QEMU_CPU" SYSTEMD_IN_CHROOT=1 "$@" >"$SAID" 2>&1
}

must() {
  on "$@" </dev/null || {
    cat "$SAID" >&2
    wrong "this failed: $*"
  }
}

# listing ROOT FILE: every path with its kind, mode, owner and contents.
listing() {
  {
    find "$1" -xdev -printf '%P\t%y %m %U:%G %l\n'
    (cd "$1" && find . -xdev -type f -exec sha256sum {} +) | sed -E 's|^([0-9a-f]+)  \./(.*)$|\2\tcontents \1|'
  } | grep -vE "$BOOKKEEPING" | sort >"$2"
}

# changes BEFORE AFTER: + for a path that is new, - for one that is gone, * for another kind, mode, owner or contents.
changes() {
  awk -F '\t' 'FNR == NR { before[$1] = before[$1] $2; next } { after[$1] = after[$1] $2 }
    END {
      for (path in before) if (!(path in after)) print "- " path; else if (before[path] != after[path]) print "* " path
      for (path in after) if (!(path in before)) print "+ " path
    }' "$1" "$2" | sort -k 2
}

# same EXPECTED FOUND WHAT: two texts.
same() {
  diff -u --label expected --label found <(printf '%s\n' "$1") <(printf '%s\n' "$2") >&2 || wrong "$3"
}

# now_as FILE WHAT: nothing has changed since that listing.
now_as() {
  listing "$ROOT" "$LISTS/now"
  same '' "$(changes "$LISTS/$1" "$LISTS/now")" "$2"
}

# sites_as FILE [CHANGES]: nothing else of what is the site's has changed since that listing.
sites_as() {
  listing "$ROOT" "$LISTS/now"
  same "${2-}" "$(changes "$LISTS/$1" "$LISTS/now" | grep -E "^. $SITES(/|\$)")" "the site's own files"
}

# left CHANGES: what there is now that a bare root has not, but for what is the site's.
left() {
  listing "$ROOT" "$LISTS/now"
  same "$1" "$(changes "$LISTS/bare" "$LISTS/now" | grep -vE "^. $SITES(/|\$)")" 'what is left'
}

# units "STATE…": of UNITS, in their order.
units() {
  # shellcheck disable=SC2016 # the shell on the Pi expands it
  must sh -c 'for unit; do systemctl is-enabled "$unit" || :; done' sh "${UNITS[@]}"
  same "$1" "$(paste -sd ' ' "$SAID")" "the units (${UNITS[*]})"
}

# Every path of the package is there as in the package, but for the operator's settings.
contents() {
  listing "$NEW" "$LISTS/package"
  listing "$ROOT" "$LISTS/now"
  same '' "$(comm -23 "$LISTS/package" "$LISTS/now" | grep -v "^$SETTINGS"$'\t')" "files of the package"
}

# What the handbook types works: the program, and each name without its path.
names() {
  # shellcheck disable=SC2016
  must sh -euc 'toolmaster --version; for name; do "$name" --help | grep -q "^Usage: toolmaster "; done; . /usr/local/lib/toolmaster-usb.sh
    command -v usb_log usb_mount_device usb_unmount usb_validate_role' sh "${NAMES[@]}"
}

# No link in the places that the package writes to leads to nothing.
no_dangling() {
  # shellcheck disable=SC2016
  must sh -c 'find /etc/systemd /etc/udev /usr/local -xtype l'
  same '' "$(cat "$SAID")" "links that lead to nothing"
}

# enter COMMAND…: with an operator at the terminal who presses Enter at each question.
enter() {
  on "$@" < <(yes '') || {
    cat "$SAID" >&2
    wrong "this failed: $*"
  }
}

make_machine() {
  local memory=/mnt
  mount -t tmpfs -o mode=0755 tmpfs "$memory"
  ROOT=$memory/root LISTS=$memory/lists SAID=$memory/said NEW=$WORK/new
  mkdir "$ROOT" "$LISTS"
  tar -C "$ROOT" --exclude='./dev/*' -xf "$SMALL"
  mount --bind /proc "$ROOT/proc"
  mount --rbind /dev "$ROOT/dev"
  cp "$DEB" "$ROOT/root/new.deb"
  cp "$OLD_DEB" "$ROOT/root/old.deb"
  # That root was made without documents; the Pi is not.
  sed -i '/^path-/d' "$ROOT/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
  cp -R "$WORK/checkout" "$ROOT/root/RaspberryPiServer"
  # As at a site without a network.
  rm -rf "$ROOT"/var/lib/apt/lists/*
  listing "$ROOT" "$LISTS/bare"
}

# What an operator does on a server: provisioned, with data, settings, and units switched off and on.
be_used() {
  must toolmaster provision
  must systemctl disable tool-restore-drill.timer
  must systemctl mask raspi-server.service
  # As "mirrorctl enable" does.
  must systemctl enable mirror-compare.timer
  sed -i 's/^#BACKUP_RETENTION=.*/BACKUP_RETENTION=9/' "$ROOT/$SETTINGS"
  printf '呼称,径\n' >"$ROOT/srv/rpi-server/master/工具台帳.csv"
  echo 12 >"$ROOT/var/lib/mirror/ok_counter"
  printf '#!/bin/sh\n' >"$ROOT/etc/toolmaster/ingest.d/50-site"
  echo mine >"$ROOT/mnt/physusb/of-the-site"
  mkdir -p "$ROOT/var/lib/systemd/timers"
  touch "$ROOT/var/lib/systemd/timers/stamp-tool-snapshot.timer"
  listing "$ROOT" "$LISTS/used"
}

# What an install adds to the package's own files and to systemd's records.
GROUP='* etc/group
* etc/group-
* etc/gshadow
* etc/gshadow-'
INSTALLED="$GROUP
+ etc/systemd/system/multi-user.target.wants/raspi-server.service
+ etc/systemd/system/multi-user.target.wants/toolmaster-provision.service
+ etc/systemd/system/multi-user.target.wants/toolmaster-ready.target
+ etc/systemd/system/sysinit.target.wants/toolmaster-site.service
+ etc/systemd/system/timers.target.wants/tool-restore-drill.timer
+ etc/systemd/system/timers.target.wants/tool-snapshot.timer
+ etc/systemd/system/timers.target.wants/toolmaster-page.timer
+ etc/systemd/system/timers.target.wants/toolmaster-wear.timer
+ etc/toolmaster
+ etc/toolmaster/ingest.d
+ etc/toolmaster/notify.d
+ mnt/backup
+ mnt/physusb
+ run/toolmaster
+ var/lib/mirror"
MODES='755 root:root /etc/toolmaster
755 root:root /etc/toolmaster/ingest.d
755 root:root /etc/toolmaster/notify.d
755 root:root /mnt/backup
755 root:root /mnt/physusb
755 root:root /run/toolmaster
2755 root:toolmaster /var/lib/mirror'

fresh_install() {
  step 'apt install, as the handbook has it for a place without a network'
  must apt install --no-install-recommends ./root/new.deb
  contents
  names
  units 'enabled enabled enabled enabled enabled enabled disabled static'
  changes "$LISTS/bare" "$LISTS/now" | grep -v deb-systemd-helper-enabled |
    grep -vxFf <(cut -f 1 "$LISTS/package" | sort -u | sed 's/^/+ /') >"$LISTS/added" || :
  same "$INSTALLED" "$(cat "$LISTS/added")" "what is there beside the package's files"
  must stat -c '%a %U:%G %n' /etc/toolmaster /etc/toolmaster/{ingest,notify}.d /mnt/backup /mnt/physusb /run/toolmaster /var/lib/mirror
  same "$MODES" "$(cat "$SAID")" 'owners and modes'
}

reinstall() {
  step 'the same package again'
  listing "$ROOT" "$LISTS/installed"
  must apt reinstall ./root/new.deb
  now_as installed 'what a reinstall changed'
}

purge_unused() {
  step 'apt purge, on a machine that was never a server'
  enter apt purge toolmaster
  sites_as bare
  left "$GROUP"
}

older_in_use() {
  step "an older version, and the operator's settings"
  must dpkg --install /root/old.deb
  be_used
  units 'enabled enabled masked enabled enabled disabled enabled static'
}

upgrade() {
  step 'apt install of the new version: Enter where dpkg asks for the settings'
  enter apt install --no-install-recommends ./root/new.deb
  after_upgrade
}

after_upgrade() {
  contents
  sites_as used
  units 'enabled enabled masked enabled enabled disabled enabled static'
  same 9 "$(sed -n 's/^BACKUP_RETENTION=//p' "$ROOT/$SETTINGS")" "the operator's settings"
  cmp "$NEW/$SETTINGS" "$ROOT/$SETTINGS.dpkg-dist" >&2 || wrong "the new settings' file is not beside the operator's"
  [ ! -e "$ROOT/usr/share/toolmaster/gone" ] || wrong 'a file that the new version does not have is still there'
}

# Nobody at the terminal: dpkg leaves off at its question, with the operator's settings in force; the question can be answered later.
upgrade_unattended() {
  step 'the same with nobody to answer, and the answer afterwards'
  must dpkg --force-confold --install /root/old.deb
  on dpkg --install /root/new.deb </dev/null && wrong 'dpkg asked nobody'
  grep -q 'end of file on stdin at conffile prompt' "$SAID" || wrong "dpkg failed of something else: $(cat "$SAID")"
  same 9 "$(sed -n 's/^BACKUP_RETENTION=//p' "$ROOT/$SETTINGS")" "the operator's settings"
  enter dpkg --configure -a
  after_upgrade
}

downgrade() {
  step 'apt install --allow-downgrades of the older version'
  enter apt install --allow-downgrades ./root/old.deb
  sites_as used
  units 'enabled enabled masked enabled enabled disabled enabled static'
  same 9 "$(sed -n 's/^BACKUP_RETENTION=//p' "$ROOT/$SETTINGS")" "the operator's settings"
  # shellcheck disable=SC2016 # dpkg expands it
  must dpkg-query -W -f '${Version}' toolmaster
  same "$OLDER" "$(cat "$SAID")" 'the version'
  [ -e "$ROOT/usr/share/toolmaster/gone" ] || wrong "the older version's file is not there"
}

# The older version masks its units and leaves their links; the new one undoes the masks, but not the operator's.
older_removed() {
  step 'apt remove of the older version, and the new one in its place'
  enter apt remove toolmaster
  units 'not-found masked masked not-found masked not-found masked not-found'
  enter apt install ./root/new.deb
  after_upgrade
}

remove() {
  step 'apt remove'
  enter apt remove toolmaster
  sites_as used
  units 'not-found not-found masked not-found not-found not-found not-found not-found'
  no_dangling
  left "+ $SETTINGS
+ $SETTINGS.dpkg-dist
$GROUP
+ etc/systemd/system/raspi-server.service
+ run/toolmaster
+ var/lib/systemd/deb-systemd-helper-enabled/timers.target.wants/tool-restore-drill.timer
+ var/lib/systemd/deb-systemd-helper-enabled/tool-restore-drill.timer.dsh-also
+ var/lib/systemd/timers
+ var/lib/systemd/timers/stamp-tool-snapshot.timer"
}

again() {
  step 'the package again'
  must apt install ./root/new.deb
  contents
  names
  sites_as used
  units 'enabled enabled masked enabled enabled disabled disabled static'
}

# The operator's own mask stays, and the directory of the timers' stamps is systemd's.
purge() {
  step 'apt purge'
  enter apt purge toolmaster
  sites_as used '- etc/toolmaster/notify.d
- mnt/backup'
  no_dangling
  left "$GROUP
+ etc/systemd/system/raspi-server.service
+ var/lib/systemd/timers"
}

# typed HEADING: what the handbook has typed below it, in its blocks and in the spans that begin its numbered lines.
typed() {
  awk -v heading="$1" '
    $0 == heading { inside = 1; next }
    inside && /^#/ { exit }
    !inside { next }
    /^ *```/ { fenced = !fenced; next }
    fenced { sub(/^ */, ""); print }
    !fenced && /^[0-9]+\. `/ { split($0, parts, "`"); print parts[2] }' "$ROOT/root/RaspberryPiServer/RUNBOOK.md"
}

# by_hand HEADING: types it, in the checkout. Root needs no sudo, which this small system does not have; and where no systemd runs,
# systemctl refuses --now.
by_hand() {
  local text
  text=$(typed "$1")
  [ -n "$text" ] || wrong "the handbook has nothing to type below \"$1\""
  must sh -euc "sudo() { \"\$@\"; }
    systemctl() { verb=\$1; shift; [ \"\${1-}\" != --now ] || shift; command systemctl \"\$verb\" \"\$@\"; }
    cd /root/RaspberryPiServer; $text"
}

# What "provision" made: data, and what belongs to it. The handbook leaves it.
PROVISIONED='+ etc/mirrorctl
+ etc/toolmaster
+ etc/toolmaster/postgres-password
+ etc/toolmaster/server
+ srv/rpi-server
+ srv/rpi-server/.toolmaster
+ srv/rpi-server/.toolmaster/provisioned
+ srv/rpi-server/.toolmaster/server-id
+ srv/rpi-server/.toolmaster/state.lock
+ srv/rpi-server/docviewer
+ srv/rpi-server/logs
+ srv/rpi-server/master
+ srv/rpi-server/snapshots'

manual_way() {
  step 'the handbook by hand: 3.2, 3.3, from a checkout'
  by_hand '### 3.2 systemd/udev テンプレート更新'
  by_hand '### 3.3 スクリプト配置'
  names
  units 'disabled disabled disabled disabled enabled enabled disabled static'
  must systemctl enable mirror-compare.timer
  step 'the handbook by hand: 4, the way back'
  by_hand '**手で置いたものを消す**(3.2、3.3 を手で行った機械)'
  left ''
  sites_as bare "$PROVISIONED"
  rm -r "$ROOT/srv/rpi-server" "$ROOT/etc/toolmaster" "$ROOT/etc/mirrorctl"
}

package_life() {
  make_machine
  manual_way
  fresh_install
  reinstall
  purge_unused
  older_in_use
  upgrade
  upgrade_unattended
  downgrade
  older_removed
  remove
  again
  purge
  printf '== %3d s  the package leaves and keeps what it should\n' $SECONDS
}
