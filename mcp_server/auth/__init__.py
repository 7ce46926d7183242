"""Who is calling: an OAuth 2.1 resource server. Pure but for `fetch.py` (the only socket) and `authenticator.py`.

Read `token.py` first: the numbered steps every access token passes. Tools, methods and HTTP routes do not belong here.
"""
