# shellcheck shell=bash
# Raspberry Pi's packages, on top of Debian's root: whose key signs the archive, and what it must bring.

RASPI_FINGERPRINT=CF8A1AF502A2AA2D763BAE7E82B129927FA3303E
# Where Raspberry Pi's own package of its key has it: who installs that gets a newer one in the same place.
RASPI_KEYRING=/usr/share/keyrings/raspberrypi-archive-keyring.gpg

# Says at once, before anything is built, what is missing or wrong.
check_archive() {
  need_packages gpg
  [ -n "$ARCHIVE" ] || die "rpi5 needs the address of Raspberry Pi's archive, which Raspberry Pi's documentation names -> --archive URI"
  # mmdebstrap can't install from file:, which leaves the packages outside of the root.
  [[ $ARCHIVE =~ ^[a-z]+:[A-Za-z0-9._~:/@%+=,-]+$ && $ARCHIVE != file:* ]] ||
    die "'$ARCHIVE' is no address that packages can be had from -> --archive URI; of a folder: copy:/srv/archive"
  [ -f "$ARCHIVE_KEY" ] || die "rpi5 needs the key that signs the archive, and there is no file '$ARCHIVE_KEY' -> --archive-key FILE"
  if [ -z "$ARCHIVE_FINGERPRINT" ]; then
    ARCHIVE_FINGERPRINT=$RASPI_FINGERPRINT
  else
    printf "NOT Raspberry Pi's key: as asked, this image trusts %s\n" "$ARCHIVE_FINGERPRINT"
  fi
  make_keyring "$WORK/raspi.gpg"
  # For a new lock: apt runs on this machine and looks for the key here.
  chmod 755 "$WORK"
  raspi_source "$WORK/raspi.gpg" >"$WORK/build.sources"
  # shellcheck disable=SC2034 # in image/relock.sh
  MORE_SOURCES=(--setup-hook="upload '$WORK/build.sources' /etc/apt/sources.list.d/raspi.sources"
    --setup-hook="upload image/rpi5/overlay/etc/apt/preferences.d/raspi /etc/apt/preferences.d/raspi")
  # shellcheck disable=SC2034 # in image/disk.sh
  MANIFEST_MORE=$(printf '\n  "archive": "%s",\n  "archive_key": "%s",' "$ARCHIVE" "$ARCHIVE_FINGERPRINT")
}

# make_keyring FILE: the key, if it is the expected one and the only one. A second one in the file would be trusted as well.
make_keyring() {
  local gpg=(gpg --homedir "$WORK/gnupg" --batch --quiet --no-autostart) found
  mkdir -m 700 "$WORK/gnupg"
  found=$("${gpg[@]}" --with-colons --show-keys "$ARCHIVE_KEY" 2>/dev/null |
    awk -F: '$1 == "pub" { of_key = 1 } $1 == "fpr" && of_key { print $10; of_key = 0 }' | paste -sd ' ') || true
  [ -n "$found" ] || die "$ARCHIVE_KEY holds no OpenPGP key -> take the key from Raspberry Pi again"
  [ "$found" = "$ARCHIVE_FINGERPRINT" ] ||
    die "$ARCHIVE_KEY holds the key $found, expected is $ARCHIVE_FINGERPRINT alone -> take the key from Raspberry Pi again, by a way that you trust"
  "${gpg[@]}" --import "$ARCHIVE_KEY" 2>/dev/null || die "$ARCHIVE_KEY can't be read by gpg -> take the key from Raspberry Pi again"
  "${gpg[@]}" --export-options export-minimal --export >"$1"
}

# raspi_source KEYRING: apt's source, with that keyring in it.
raspi_source() {
  sed "s|@ARCHIVE@|$ARCHIVE|; s|@SUITE@|$SUITE|; s|@KEYRING@|$1|" image/rpi5/raspi.sources
}

# Takes the place of image/base.sh's: from the locked packages too, with the archive's source and key for updates in the image. What
# the packages' own hooks put into /boot/firmware goes: that is where the FAT partition is mounted (image/rpi5/boot.sh fills it).
# rpi-eeprom would flash the boot loader at each boot on its own; the overlay masks its unit, so that a newer package does not
# enable it again.
make_target() {
  local list=image/rpi5/packages.list
  TARGET_BASE=$CACHE/rpi5-$(key "${BASE##*/}" "$list" "$LOCK/rpi5" image/rpi5/archive.sh image/rpi5/raspi.sources "$ARCHIVE" "$WORK/raspi.gpg").tar
  # A trial's packages would push the real ones out of the cache.
  [[ $ARCHIVE != copy:* ]] || TARGET_BASE=$WORK/target-base.tar
  ! kept "$TARGET_BASE" || return 0
  raspi_source "$RASPI_KEYRING" >"$WORK/raspi.sources"
  debian_packages rpi5 "$list" "$WORK/target.tar" --variant=custom \
    --setup-hook="$(on_base)" \
    --customize-hook="upload '$WORK/raspi.sources' /etc/apt/sources.list.d/raspi.sources" \
    --customize-hook="upload '$WORK/raspi.gpg' $RASPI_KEYRING" \
    --customize-hook="rm -rf \"\$1/boot/firmware/\"* \"\$1\"/etc/systemd/system/*.wants/rpi-eeprom-update.service"
  check_installed "$WORK/target.tar" base rpi5
  keep "$WORK/target.tar" "$TARGET_BASE"
  case $TARGET_BASE in "$CACHE"/*) forget_old rpi5 "${TARGET_BASE##*/}" ;; esac
}
