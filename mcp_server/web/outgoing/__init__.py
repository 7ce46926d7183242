"""What carries an answer to its client: streams of server-sent events, large bodies in parts."""
