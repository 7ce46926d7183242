"""Lives of a server's workers in one process: whole endpoints over a store they share, and clients that follow the rules.

Read `workers.py` first; the machine is `tests/properties/test_lives_of_workers.py`.
"""
