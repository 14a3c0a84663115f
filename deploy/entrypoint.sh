#!/bin/sh
# Runs `lambent ARGUMENT…` as the platform's own user. Started as root, which only the roles with the engine's socket
# are, it first reads which group may use that socket; root and every capability are gone before Python starts.
set -eu

if [ "$(id -u)" -ne 0 ]; then
    exec lambent "$@"
fi

socket=${DOCKER_SOCKET:-/var/run/docker.sock}
if [ -S "$socket" ]; then
    group=$(stat -c %g "$socket")
    set -- --groups "$group" -- lambent "$@"
else
    set -- --clear-groups -- lambent "$@"
fi
exec setpriv --reuid lambent --regid lambent --inh-caps=-all --bounding-set=-all --no-new-privs "$@"
