"""What choices between weights and settings are made on: never the benchmark's recordings."""
