#!/bin/sh
# Makes the certificates of the tests anew: an authority, another one, and what the first has
# signed. For tests only; the keys are public. Needs openssl 3.
set -eu
authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 \
        -subj "/CN=sockpick test $1" -addext basicConstraints=critical,CA:true \
        -addext keyUsage=critical,keyCertSign -keyout "$1.key" -out "$1.pem"
}
certificate() { # name, subject alternative name, begin, end
    openssl req -new -key server.key -subj "/CN=sockpick test $1" -out request.csr
    printf 'subjectAltName=%s\nbasicConstraints=critical,CA:false\n' "$2" > extensions
    : > index; echo 01 > serial
    openssl ca -batch -config /dev/stdin -cert authority.pem -keyfile authority.key \
        -in request.csr -out "$1.pem" -notext -extfile extensions -startdate "$3" -enddate "$4" <<X
[ca]
default_ca=ours
[ours]
new_certs_dir=.
database=index
serial=serial
rand_serial=yes
default_md=sha256
unique_subject=no
policy=any
[any]
commonName=supplied
X
}
authority authority
authority stranger
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out server.key
certificate good DNS:localhost,IP:127.0.0.1 20200101000000Z 21260101000000Z
certificate misnamed DNS:other.example 20200101000000Z 21260101000000Z
certificate expired DNS:localhost,IP:127.0.0.1 20200101000000Z 20210101000000Z
rm -f authority.key stranger.key request.csr extensions index* serial*
find . -name '[0-9A-F][0-9A-F]*.pem' -delete
