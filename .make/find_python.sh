#!/bin/sh
# find_python.sh [COMMAND]: print which Python to use, or say what to install; nothing is made. It has to be 3.11 or later
# and able to make virtual environments. COMMAND names the only one that is looked at; without it python3 comes first,
# then those that say their version, the ones that the engines have packages for before later ones.
set -u
named=${1:-}
old=
incomplete=

for command in ${named:-python3 python3.13 python3.12 python3.11 python3.14 python3.15 python3.16}; do
    command -v "$command" > /dev/null || continue
    version=$("$command" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null) || continue
    if ! "$command" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        old=${old:-$command is $version}
    elif ! "$command" -c 'import ensurepip, venv' 2> /dev/null; then
        # Debian and Ubuntu have this part in a package of its own.
        incomplete=${incomplete:-$command cannot make virtual environments: sudo apt install python$version-venv}
    else
        command -v "$command"
        exit 0
    fi
done

if [ -n "$incomplete" ]; then
    echo "$incomplete"
elif [ -n "$named" ]; then
    echo "Python 3.11 or later is needed, and ${old:-there is no $named}: name another with PYTHON=python3.12"
elif [ -n "$old" ]; then
    echo "Python 3.11 or later is needed, and $old: sudo apt install python3.11 python3.11-venv"
else
    echo "Python is missing: sudo apt install python3 python3-venv"
fi >&2
exit 1
