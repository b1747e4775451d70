"""Denoisers that make targets for training: one module a teacher behind one interface."""
