#!/bin/sh
# The tests drive the system's Chromium, an nginx and a Redis or Valkey of their own; install what is missing, where we may.
# `system.sh operate` is for `make operate`: haproxy, a sentinel, a library that lies about the clock.
set -e
missing=
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
command -v redis-server >/dev/null 2>&1 || command -v valkey-server >/dev/null 2>&1 || missing="$missing redis-server"
command -v nginx >/dev/null 2>&1 || [ -x /usr/sbin/nginx ] || missing="$missing nginx-light"
if [ "${1:-}" = operate ]; then
    command -v haproxy >/dev/null 2>&1 || [ -x /usr/sbin/haproxy ] || missing="$missing haproxy"
    command -v redis-sentinel >/dev/null 2>&1 || missing="$missing redis-sentinel"
    ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || missing="$missing libfaketime"
fi
[ -z "$missing" ] && exit 0
[ "$(id -u)" = 0 ] || { echo "missing: apt-get install$missing" >&2; exit 1; }
# The package would start a server of its own on the usual port; the tests start theirs.
[ -e /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; made=1; }
apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
[ -z "$made" ] || rm -f /usr/sbin/policy-rc.d
