"""From recordings to pseudo-clean targets and animal-free noise, in numbered stages."""
