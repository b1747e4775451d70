"""A local page for one recording at a time: drop it, look, listen, download."""
