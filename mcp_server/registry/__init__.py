"""What is offered: tools, resources, prompts and completions, compiled once at registration, with their scopes.

Read `server.py` first. What a running function sees is `authoring`; what a call does with an entry is `engine`.
"""
