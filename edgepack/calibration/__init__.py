"""What activations look like on real data: one streaming pass, statistics that merge."""
