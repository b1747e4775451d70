"""Training a student: settings, losses, loop, checks and export. Needs the extra `train`."""
