"""Where recordings, calls and noises come from."""
