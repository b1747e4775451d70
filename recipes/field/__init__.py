"""Targets and noise from real recordings."""
