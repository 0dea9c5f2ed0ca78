#!/usr/bin/env bash
# Takes the pictures of the status page below docs/page/, as a panel PC and a phone show it; Chromium draws them. To be looked at by a
# person, and shown in RUNBOOK.md; needs chromium and fonts-noto-cjk.
#   tests/page/look.sh --image   pages that the booted image served (tests/vm/signs.rs)
#   tests/page/look.sh           what takes days: a history of 90 days, an old backup, a page that is no longer renewed (tests/status_page.rs)
set -euo pipefail
cd "$(dirname "$0")/../.."

pages=$(mktemp -d)
trap 'rm -rf "$pages"' EXIT
mkdir -p docs/page

# picture PAGE NAME WIDTH HEIGHT [OPTION]: a window is never narrower than 500 pixels, a frame in it is.
picture() {
  printf '<body style="margin:0"><iframe src="%s.html" style="border:0;width:%spx;height:%spx"></iframe></body>' \
    "$1" "$3" "$4" >"$pages/frame.html"
  chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --force-device-scale-factor=1 --force-color-profile=srgb \
    --window-size="$3,$4" "${@:5}" --screenshot="$pages/picture.png" "file://$pages/frame.html" 2>"$pages/log" || {
    cat "$pages/log" >&2
    exit 1
  }
  if command -v pngquant >/dev/null; then pngquant --force --output "$pages/picture.png" 64 "$pages/picture.png"; fi
  cp "$pages/picture.png" "docs/page/$2.png"
}

if [ "${1-}" = --image ]; then
  STATUS_PAGES=$pages scripts/vm-test "the verdicts" >&2
  for page in healthy working refused database disk; do
    picture "$page" "$page-panel" 1024 768
    picture "$page" "$page-phone" 360 800
  done
  exit
fi

STATUS_PAGES=$pages cargo test --locked --quiet --test status_page >&2
picture old old-panel 1024 768
picture healthy history 1024 1500
# A browser that could not read it anew for 320 seconds.
sed '/http-equiv="refresh"/d' "$pages/healthy.html" >"$pages/stale.html"
picture stale stale-panel 1024 768 --virtual-time-budget=320000
ls -l docs/page
