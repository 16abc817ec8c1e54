"""A mesh of agents without a broker: discovery, keys, links, calls, casts, liveness.

Knows nothing of clouds: imports nothing of nova0 above `native`, `log` and `metrics`.
"""
