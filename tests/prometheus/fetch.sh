#!/bin/sh
# promtool alone, which evaluates rules and expressions without a server: the package brings a web interface along.
set -e
cd "$(dirname "$0")"
mkdir -p bin
if found=$(command -v promtool); then
    ln -sf "$found" bin/promtool
    exit 0
fi
apt-get download -qq prometheus >/dev/null 2>&1 || { apt-get update -qq && apt-get download -qq prometheus; }
dpkg --fsys-tarfile prometheus_*.deb | tar -x -C bin --strip-components=3 ./usr/bin/promtool
rm prometheus_*.deb
