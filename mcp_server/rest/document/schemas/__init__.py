"""Schemas: every dialect → JSON Schema 2020-12, and the definitions that operations reach."""
