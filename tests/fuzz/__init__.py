"""Fuzz targets: functions of bytes, which raise only where the product breaks a promise to a stranger.

`make fuzz` runs them under atheris, which looks for new branches; `make test` replays the corpus that is committed and
mutates it a few hundred times. What atheris finds stays in the corpus.
"""
