"""Which targets teach a student most: the same students on different targets, equally long."""
