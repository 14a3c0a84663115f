# Installs a Node.js package's dependencies; runs inside the sandbox, with that runtime's own node and npm.
# Reads the package as a tar on standard input, writes its node_modules as a tar on standard output.
set -eu
exec 3>&1 1>&2
mkdir package
cd package
tar -xf -
export npm_config_cache="$HOME/.npm" npm_config_update_notifier=false
if [ -f package-lock.json ] || [ -f npm-shrinkwrap.json ]; then how=ci; else how=install; fi
status=0
npm "$how" --omit=dev --no-audit --no-fund --no-progress 3>&- < /dev/null || status=$?
if [ "$status" = 137 ]; then exit 99; fi # killed, which is what a lack of memory does
[ "$status" = 0 ] || exit "$status"
mkdir -p node_modules
exec tar --hard-dereference --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf - node_modules >&3
