"""Tokens: how one is carried, the profile it must satisfy, what is remembered of it. Read `profile.py` first."""
