"""What judges a request before its message is read: Host and Origin, the body's bytes, whose address it is."""
