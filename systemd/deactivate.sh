#!/bin/sh
# deactivate.sh before|after [ROOT]: tell the running system that the daemon is removed: what has to be said before its
# files go, and what after that. ROOT goes before /run, for tests.
set -u

attempt() { # a failure here keeps nothing from being removed
    "$@" || echo "This failed, please see to it: $*" >&2
}

command -v systemctl > /dev/null || exit 0
[ -d "${2:-}/run/systemd/system" ] || exit 0 # sd_booted(3)
case $1 in
before)
    systemctl --quiet cat rkllmd.service > /dev/null 2>&1 || exit 0
    # The socket too: it would start the service again for the next client.
    attempt systemctl --quiet disable --now rkllmd.socket rkllmd.service
    ;;
after) attempt systemctl daemon-reload ;;
esac
