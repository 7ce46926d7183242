"""The official conformance suite against a server with authorization on."""
