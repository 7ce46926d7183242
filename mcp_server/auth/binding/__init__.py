"""Tokens bound to a key: the proof of possession that each call must carry (RFC 9449)."""
