"""How fast and how small: `python -m benchmark.speed` measures, and writes benchmark/SPEED.md.

Ratios within one run hold; absolute figures are the machine's. Everything is measured in processes
of its own, and what is compared takes turns.
"""
