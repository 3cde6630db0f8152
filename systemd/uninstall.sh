#!/bin/sh
# uninstall.sh DESTDIR PREFIX PURGE: remove what install.sh has installed, and nothing else. The configuration, what the
# daemon has learned and the user rkllm stay; if PURGE is not empty, the first two are removed too. It may be repeated.
set -eu
destdir=${1%/}
prefix=${2%/}
purge=$3
units=$(cd "$(dirname "$0")" && pwd)

fail() {
    echo "$1" >&2
    exit 1
}

case $prefix in
/?*) ;;
*) fail "PREFIX is '$2', which is not an absolute path: make uninstall PREFIX=/opt/rkllmd" ;;
esac
if [ -z "$destdir" ] && [ "$(id -u)" != 0 ]; then
    fail "Removing $prefix needs root: sudo make uninstall"
fi
venv=$destdir$prefix
# Anything else there was not installed by us.
if [ -e "$venv" ] && { [ ! -e "$venv/pyvenv.cfg" ] || [ ! -e "$venv/bin/rkllmd" ]; }; then
    fail "$venv is not the daemon's: name its folder with make uninstall PREFIX=/opt/rkllmd"
fi

[ -n "$destdir" ] || sh "$units/deactivate.sh" before
rm -rf "$venv"
rm -f "$destdir/usr/lib/systemd/system/rkllmd.service" "$destdir/usr/lib/systemd/system/rkllmd.socket" \
    "$destdir/usr/lib/systemd/system/rkllmd-gateway.service" \
    "$destdir/usr/lib/sysusers.d/rkllmd.conf" "$destdir/usr/lib/tmpfiles.d/rkllmd.conf"
command=$destdir/usr/local/bin/rkllmd
if [ -L "$command" ] && [ "$(readlink "$command")" = "$prefix/bin/rkllmd" ]; then
    rm -f "$command"
fi
[ -n "$destdir" ] || sh "$units/deactivate.sh" after

echo "Removed."
for place in /etc/rkllmd.toml /var/lib/rkllmd /var/cache/rkllmd; do
    if [ -n "$purge" ]; then
        rm -rf "$destdir$place"
    elif [ -e "$destdir$place" ]; then
        echo "Kept: $destdir$place (make uninstall PURGE=1 removes it as well)"
    fi
done
if [ -z "$destdir" ] && id rkllm > /dev/null 2>&1; then
    echo "Kept: the user rkllm, whose files may still be somewhere (userdel rkllm)"
fi
