"""What an author's function sees: its context, the questions it may ask, the types it may take, how it fails.

Read `context.py` first. What is offered to clients is `registry`; how a call runs is `engine`.
"""
