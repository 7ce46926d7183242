"""The realm as code: one description for the embedded authorization server and for Keycloak. Read `description.py`."""
