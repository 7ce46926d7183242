"""The files of a document: bytes → JSON values, overlaid, and what references in them name."""
