"""What the package says of itself."""

__version__ = "0.2.0"
SUMMARY = "Find and ship the segmentation network that is most accurate within a latency budget on a device."
SIBLINGS = ("targets", "cost_models", "search")
