#!/bin/sh
# venv_is_stale.sh VENV: print "stale" if there is a virtual environment that can't be used: its Python is gone or has
# become another version, or it was made in another folder, which its programs still name. VENV is an absolute path.
# Nothing is written (-B): it may be root who looks, by sudo make install.
[ -e "$1/bin" ] || exit 0
"$1/bin/python" -B -c 'import pip' 2> /dev/null && grep -qF "$1/bin/" "$1/bin/pip" || echo stale
