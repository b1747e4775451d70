"""The commands: they convert options, call the library and print; nothing else."""
