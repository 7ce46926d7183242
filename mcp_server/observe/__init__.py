"""What an operator sees: log, audit of decisions, metrics, trace context."""
