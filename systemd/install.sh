#!/bin/sh
# install.sh DESTDIR PREFIX: put the daemon into a virtual environment of its own and its units beside the system's.
set -eu
destdir=$1
prefix=$2
here=$(cd "$(dirname "$0")" && pwd)
: "${PYTHON:=python3}"

if [ -z "$destdir" ] && [ "$(id -u)" != 0 ]; then
    echo "Installing into $prefix needs root: sudo make install" >&2
    exit 1
fi
# A virtual environment of its own: Rockchip's model converter (rknn-toolkit2) installs a package named rknn too.
"$PYTHON" -m venv "$destdir$prefix" || { echo "Python's venv module is missing: apt install python3-venv" >&2; exit 1; }
"$destdir$prefix/bin/pip" --disable-pip-version-check install --quiet --upgrade "$here/.."

units=$destdir/usr/lib/systemd/system
mkdir -p "$units" "$destdir/usr/lib/sysusers.d" "$destdir/usr/lib/tmpfiles.d" "$destdir/etc"
sed "s|@PREFIX@|$prefix|" "$here/rkllmd.service" > "$units/rkllmd.service"
cp "$here/rkllmd.socket" "$units/rkllmd.socket"
cp "$here/rkllmd.sysusers" "$destdir/usr/lib/sysusers.d/rkllmd.conf"
cp "$here/rkllmd.tmpfiles" "$destdir/usr/lib/tmpfiles.d/rkllmd.conf"
[ -e "$destdir/etc/rkllmd.toml" ] || cp "$here/rkllmd.toml" "$destdir/etc/rkllmd.toml"

if [ -n "$destdir" ]; then
    # The scripts must name the interpreter where it will be, not where it was put together.
    find "$destdir$prefix" -maxdepth 2 \( -path '*/bin/*' -o -name pyvenv.cfg \) -type f \
        -exec sed -i "s|$destdir$prefix|$prefix|g" {} +
    echo "Installed below $destdir."
    exit 0
fi
ln -sf "$prefix/bin/rkllmd" /usr/local/bin/rkllmd
systemd-sysusers
systemd-tmpfiles --create rkllmd.conf
systemctl daemon-reload
echo "Installed. Start it with: systemctl enable --now rkllmd.socket rkllmd.service"
echo "Let a user call it with:  usermod -aG rkllm USER"
