"""Does this artifact ship? Accuracy, size, speed, and what ran on the target's own kernels."""
