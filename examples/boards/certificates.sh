#!/bin/sh
# certificates.sh FOLDER NAME…: make an authority for your boards, and for each name or address a certificate with its
# key in one file, FOLDER/NAME.pem. Run it on one machine, again for further names; authority.key stays there.
set -eu
[ $# -ge 2 ] || { echo 'usage: sh certificates.sh FOLDER NAME...' >&2; exit 2; }
folder=$1
shift
umask 077
mkdir -p "$folder"
cd "$folder"
curve='ec -pkeyopt ec_paramgen_curve:prime256v1'
if [ ! -e authority.key ]; then
    # shellcheck disable=SC2086  # several words
    openssl req -x509 -newkey $curve -nodes -days 3650 -subj "/CN=NPU boards" -keyout authority.key -out authority.pem
fi
for name in "$@"; do
    case $name in
    *[!0-9.]*[!0-9a-fA-F:.]* | *[g-zG-Z]*) kind=DNS ;;
    *) kind=IP ;;
    esac
    # shellcheck disable=SC2086
    openssl req -newkey $curve -nodes -subj "/CN=$name" -keyout key.new -out request.new
    printf 'subjectAltName = %s:%s\nextendedKeyUsage = serverAuth, clientAuth\n' "$kind" "$name" > extensions.new
    openssl x509 -req -in request.new -days 3650 -CA authority.pem -CAkey authority.key -CAcreateserial \
        -extfile extensions.new -out certificate.new
    cat certificate.new key.new > "$name.pem"
    rm -f certificate.new key.new request.new extensions.new
done
