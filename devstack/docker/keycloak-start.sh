#!/bin/bash
# Starts Keycloak unless a secret that stands in a public repository would guard an address that others reach.
set -euo pipefail

case ${STACK_BIND:-127.0.0.1}/${KC_HOSTNAME:-} in
    127.0.0.1/http://localhost | 127.0.0.1/http://localhost:* | 127.0.0.1/https://localhost | 127.0.0.1/https://localhost:*) ;;
    *)
        for name in KC_BOOTSTRAP_ADMIN_PASSWORD KC_DB_PASSWORD MCP_SERVER_SECRET MCP_AGENT_SECRET; do
            value=${!name:-dev-only-}
            if [[ $value == dev-only-* || $value == admin ]]; then
                echo "refused: $name is a secret of development, and others reach ${KC_HOSTNAME:-this Keycloak}; set it" >&2
                exit 1
            fi
        done
        for file in /opt/keycloak/data/import/*.json; do
            content=$(<"$file")
            if [[ $content =~ \$\{MCP_[A-Z]+_PASSWORD: ]]; then
                echo "refused: $file brings alice, bob and carol; render one with: devstack realm render" >&2
                exit 1
            fi
        done
        ;;
esac
exec /opt/keycloak/bin/kc.sh "$@"
