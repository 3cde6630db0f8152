#!/bin/sh
# deactivate.sh before|after [ROOT]: make the running system forget the daemon, before and after its files are removed.
# ROOT is put before /run, for tests.
set -u

attempt() { # a failure does not stop the removal
    "$@" || echo "This failed, please see to it: $*" >&2
}

command -v systemctl > /dev/null || exit 0
[ -d "${2:-}/run/systemd/system" ] || exit 0 # sd_booted(3)
case $1 in
before)
    systemctl --quiet cat rkllmd.service > /dev/null 2>&1 || exit 0
    # The socket too: it would start the service again for the next client.
    attempt systemctl --quiet disable --now rkllmd.socket rkllmd.service
    systemctl --quiet cat rkllmd-gateway.service > /dev/null 2>&1 || exit 0
    attempt systemctl --quiet disable --now rkllmd-gateway.service
    ;;
after) attempt systemctl daemon-reload ;;
esac
