"""What outlives a request: legacy sessions, their event log, subscriptions, client requests, calls in flight, tasks."""
