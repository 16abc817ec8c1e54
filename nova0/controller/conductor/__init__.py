"""Durable work: one file per operation, each a list of small steps recorded when done.

`engine.py` takes operations up and drives them; `operation.py` is what they share. A step may be run
twice (after a crash) and must come to the same end. Nothing here serves HTTP.
"""
