#!/bin/sh
# Certificates for the NATS profile of compose.yaml: certs.sh [FOLDER], default /certs. Does nothing when they are there.
set -eu
umask 077
dir=${1:-/certs}
if [ ! -f "$dir/cert.pem" ]; then
  cd "$dir"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=trailwarden compose CA" \
    -keyout ca-key.pem -out ca.pem
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=trailwarden" -keyout key.pem -out cert.csr
  printf 'subjectAltName=DNS:nats-1,DNS:nats-2,DNS:nats-3,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n' > cert.ext
  openssl x509 -req -in cert.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 3650 -extfile cert.ext -out cert.pem
  rm -f ca-key.pem cert.csr cert.ext # nobody can issue another one
fi
[ "$#" -gt 0 ] || chown -R 65532:65532 "$dir" /data
