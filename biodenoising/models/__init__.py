"""Networks, their cards and checkpoints, and the registry that finds them."""

# Here, where it costs the command line nothing to import.
DEFAULT_MODEL = "compact"
DEVICES = ("auto", "onnx", "cpu", "cuda", "mps")
