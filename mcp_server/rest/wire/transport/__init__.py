"""Whether, where, how and how often an API may be called: rules for the client; all pure."""
