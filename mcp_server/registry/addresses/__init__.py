"""Addresses of resources: RFC 6570 templates, one spelling for each address, and what a value in one must not be."""
