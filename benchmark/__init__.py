"""How good our models and every tool that can be had are, on real recordings with known parts.

`python -m benchmark` runs the sets that are reachable and writes RESULTS.md, results.json and
plots. Clips of the benchmark are scored, never trained, selected or tuned on.
"""

PROTOCOL = 1
"""Raised whenever a mixture of the same name would hold other samples."""
