"""The benchmark: one authenticated tool call, answered by this server and by its peers."""
