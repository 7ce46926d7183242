"""Whether, where, how often and how an API may be called: rules for the client; all pure but the certificates read."""
