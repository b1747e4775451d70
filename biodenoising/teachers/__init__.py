"""Denoisers that make pseudo-clean targets: one module a teacher behind one interface.

`select` chooses among what they made of a segment, or refuses the segment.
"""
