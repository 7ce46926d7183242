"""The other shell: newline-delimited JSON-RPC on stdin and stdout, both eras (2026-07-28 transports/stdio).

There are no headers, no HTTP statuses and no challenges; what the pipeline decides and writes down is the same. Read
`transport.py` first.
"""
