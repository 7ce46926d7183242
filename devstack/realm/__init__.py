"""The realm as code: a server's scopes and a description become `keycloak/realm.json`; `apply` brings them about."""
