"""The protocol's requirements as data."""
