"""Networks, their cards and checkpoints, and the registry that finds them."""

# Here, where it costs the command line nothing to import.
DEFAULT_MODEL = "compact"
LIVE_MODEL = "light"  # from the past alone it hears more than the default (docs/live.md)
DEVICES = ("auto", "onnx", "cpu", "cuda", "mps")
