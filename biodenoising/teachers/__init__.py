"""Denoisers that make pseudo-clean targets; `select` chooses among what they made, or refuses."""
