"""Who is calling: an OAuth 2.1 resource server. Pure but for `issuer/fetch.py` (the only socket) and its shells.

Read `tokens/profile.py` first: the numbered steps every access token passes. Tools, methods and HTTP routes do not
belong here.
"""
