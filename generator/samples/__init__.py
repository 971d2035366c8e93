"""Which shapes and values to verify with, to warm with and to ship.

Pure, but for `real` and `graph`, which read the author's samples and the exported graph.
"""
