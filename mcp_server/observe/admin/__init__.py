"""The admin port: what monitoring and probes ask of a whole server."""
