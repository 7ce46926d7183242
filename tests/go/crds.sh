#!/bin/sh
# The schemas of what clusters have beside Kubernetes: Gateway API in three versions, the Prometheus operator.
set -eu
cd "$(dirname "$0")"
fetched() { # module@version, file within, name here
    folder=$(go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    install -m 644 "$folder/$2" "bin/crds/$3"
}
mkdir -p bin/crds
for version in 1.2.1 1.4.1 1.6.3; do
    fetched "sigs.k8s.io/gateway-api@v$version" \
        config/crd/standard/gateway.networking.k8s.io_httproutes.yaml "httproutes-$version.yaml"
done
fetched github.com/prometheus-operator/prometheus-operator@v0.85.0 \
    example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml servicemonitors-0.85.0.yaml
touch bin/crds/.fetched
