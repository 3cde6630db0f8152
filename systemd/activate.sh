#!/bin/sh
# activate.sh PREFIX SOCKET_CHANGED [ROOT]: make the running system use what was installed, and say what to do next.
# SOCKET_CHANGED is not empty if the socket's unit has changed. ROOT is put before /run, for tests.
set -u

attempt() { # a failure does not undo the installation
    command -v "$1" > /dev/null || return 0
    "$@" || echo "This failed, please see to it: $*" >&2
}

attempt systemd-sysusers rkllmd.conf
attempt systemd-tmpfiles --create rkllmd.conf
if [ ! -d "${3:-}/run/systemd/system" ]; then # sd_booted(3)
    echo "Installed. systemd does not run here, so start it with: $1/bin/rkllmd serve"
    exit 0
fi
attempt systemctl daemon-reload
if systemctl --quiet is-active rkllmd-gateway.service; then
    attempt systemctl restart rkllmd-gateway.service
fi
if systemctl --quiet is-active rkllmd.service; then
    # Clients that connect meanwhile wait in the socket's backlog, unless the socket itself has to be made anew.
    attempt systemctl restart ${2:+rkllmd.socket} rkllmd.service
    echo "Installed. The service was running and has been restarted."
else
    echo "Installed. Start it with: systemctl enable --now rkllmd.socket rkllmd.service"
fi
echo "Let a user call it with:  usermod -aG rkllm USER"
