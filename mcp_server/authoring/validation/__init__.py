"""What it costs to validate a value, before a validator is let loose on it: it cannot be stopped."""
