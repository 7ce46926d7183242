"""Jobs that outlive the worker that took them: the port and the queue in memory, and the one over a Redis stream."""
