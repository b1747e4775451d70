"""Ways from recordings to training material and weights; each folder is one."""
