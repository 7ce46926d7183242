"""A description against a running Keycloak: compared, planned, brought about, pruned; over its Admin REST API."""
