#!/bin/sh
# install.sh DESTDIR PREFIX: install the daemon into its own virtual environment, and its units for systemd.
set -eu
destdir=${1%/}
prefix=${2%/}
units=$(cd "$(dirname "$0")" && pwd)
checkout=$(dirname "$units")
# Bytecode that root writes into the checkout could not be changed by the user who owns that.
export PYTHONDONTWRITEBYTECODE=1
# The service's user must be able to read what root installs.
umask 022

fail() {
    echo "$1" >&2
    exit 1
}

case $prefix in
/?*) ;;
*) fail "PREFIX is '$2', which is not an absolute path: make install PREFIX=/opt/rkllmd" ;;
esac
if [ -z "$destdir" ] && [ "$(id -u)" != 0 ]; then
    fail "Installing into $prefix needs root: sudo make install"
fi
python=$(sh "$checkout/.make/find_python.sh" "${PYTHON:-}") || exit 1
if [ -n "$destdir" ]; then
    mkdir -p "$destdir"
    destdir=$(cd "$destdir" && pwd -P)
fi
venv=$destdir$prefix
# Other files there must neither be mixed with the daemon's nor removed.
if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
    fail "$venv holds something else: the daemon needs a folder of its own, make install PREFIX=/opt/rkllmd"
fi

# The daemon has its own virtual environment, since Rockchip's model converter (rknn-toolkit2) installs a package named
# rknn too. An environment that works is kept, with everything that was added to it.
if [ ! -e "$venv/pyvenv.cfg" ] || ! "$venv/bin/python" -c 'import pip' 2> /dev/null; then
    trap 'rm -rf "$venv"' EXIT
    trap 'exit 1' HUP INT TERM
    "$python" -m venv --clear "$venv" || fail "$python could not make a virtual environment in $venv."
fi
# Not with the program pip, whose first line names the folder where the environment will finally be.
"$venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-compile --upgrade "$checkout" ||
    fail "The daemon could not be installed: pip says why above."
"$venv/bin/python" "$checkout/.make/relocate.py" "$venv" "$prefix"
trap - EXIT HUP INT TERM

put() { # put FILE DESTINATION: copy it unchanged, readable for all
    mkdir -p "$(dirname "$destdir$2")"
    cp "$1" "$destdir$2"
    chmod 644 "$destdir$2"
}

socket_changed=
cmp -s "$units/rkllmd.socket" "$destdir/usr/lib/systemd/system/rkllmd.socket" || socket_changed=yes
put "$units/rkllmd.socket" /usr/lib/systemd/system/rkllmd.socket
escaped=$(printf '%s' "$prefix" | sed 's/[&|\\]/\\&/g')
# The gateway's needs pip install 'rkllmd[gateway]' in the environment before it is enabled.
for unit in rkllmd.service rkllmd-gateway.service; do
    put "$units/$unit" "/usr/lib/systemd/system/$unit"
    sed "s|@PREFIX@|$escaped|" "$units/$unit" > "$destdir/usr/lib/systemd/system/$unit"
done
put "$units/rkllmd.sysusers" /usr/lib/sysusers.d/rkllmd.conf
put "$units/rkllmd.tmpfiles" /usr/lib/tmpfiles.d/rkllmd.conf
[ -e "$destdir/etc/rkllmd.toml" ] || put "$units/rkllmd.toml" /etc/rkllmd.toml
mkdir -p "$destdir/usr/local/bin"
ln -sfn "$prefix/bin/rkllmd" "$destdir/usr/local/bin/rkllmd"

if [ -n "$destdir" ]; then
    echo "Installed below $destdir."
else
    sh "$units/activate.sh" "$prefix" "$socket_changed"
fi
