"""What quantizing passes and quantization-aware training share: schemes, placement, scales."""
