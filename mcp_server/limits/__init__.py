"""Limits of what one caller can use: concurrency and rate limiters, as values without I/O (design §2)."""
