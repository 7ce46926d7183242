"""A real Keycloak without Docker: the distribution, a JVM, a folder of its own; `realm.json` is made by `realm/`."""
