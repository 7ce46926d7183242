"""The embedded authorization server: authlib's grants in a Litestar application, with Keycloak's paths and claims.

For development and tests: it binds to loopback, keeps its state in memory, and can be told to misbehave. Read `app.py`
first; `grants.py` is what authlib asks of us, `tokens.py` what a token holds, `pages.py` what a person sees.
"""
