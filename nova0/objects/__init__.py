"""The nouns that travel between controller and hosts, their states and their errors.

Plain data (msgspec Structs): unknown fields of a newer sender are ignored, missing ones take their
default, so that N-1 understands N. No behaviour that needs a store or a machine may enter.
Each field has a type that holds its form and nothing else (`fields`); decoding checks it, constructing does not.

What comes by the ten thousand has `gc=False`: it can be part of no cycle, and the garbage collector, which stops
the whole process while it looks, passes it by.
"""
