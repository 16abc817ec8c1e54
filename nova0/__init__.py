"""nova0: a small compute cloud without a broker."""

__version__ = "0.1.0"
