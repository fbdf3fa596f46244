"""Steps on the torch module, one file each; none yet."""
