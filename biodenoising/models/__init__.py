"""Networks, their cards and checkpoints, and the registry that finds them."""
