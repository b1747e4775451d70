"""Files and trees of files: what to do, what is done, and doing it."""
