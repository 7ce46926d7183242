"""Servers to test with: each is a zoo of handlers; a test module imports the one it is about."""
