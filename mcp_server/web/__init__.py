"""HTTP, the thin shell: with `app.py` the only place that knows Litestar. Read `endpoint.py` first."""
