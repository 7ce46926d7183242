"""The issuer: discovery, keys, and the only socket of `auth` (`fetch.py`). Read `issuer.py` first."""
