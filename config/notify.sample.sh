#!/bin/sh
# Tells of a failed job by mail or to a webhook. Copy it into /etc/toolmaster/notify.d/, executable, and say to whom.
# Argument: the failed unit. Standard input: the run's record, one line of JSON.
set -eu

MAIL_TO=''     # such as factory@example.com; needs a program sendmail (Debian: msmtp-mta, postfix)
WEBHOOK_URL='' # such as https://example.com/hook; needs curl

unit=$1
record=$(cat)
if [ -n "$MAIL_TO" ]; then
	printf 'To: %s\nSubject: %s failed on %s\nContent-Type: text/plain; charset=UTF-8\n\n%s\n' \
		"$MAIL_TO" "$unit" "$(uname -n)" "$record" | sendmail -t
fi
if [ -n "$WEBHOOK_URL" ]; then
	printf '%s\n' "$record" | curl --fail --silent --show-error --max-time 30 \
		--header 'Content-Type: application/json' --data-binary @- "$WEBHOOK_URL" >/dev/null
fi
