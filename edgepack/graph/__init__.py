"""Helpers on onnx_ir: read and check, census, constants, private copies, canonical bytes."""
