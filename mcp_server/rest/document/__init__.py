"""Bytes → `Document`: read, overlaid, brought to one version and one dialect, references followed; all pure."""
