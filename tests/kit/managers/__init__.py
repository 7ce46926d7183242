"""Stand-ins of secret managers: over TLS, on the wire that their own clients speak, with faults on demand."""
