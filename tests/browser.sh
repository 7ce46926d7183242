#!/bin/sh
# The browser test drives the system's Chromium; install it where it is missing and we may.
set -e
command -v chromium >/dev/null 2>&1 && exit 0
[ "$(id -u)" = 0 ] || { echo "chromium is missing: apt-get install chromium" >&2; exit 1; }
apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null
