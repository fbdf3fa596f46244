"""Time, honestly: warm-up, raw samples kept, comparisons interleaved over fresh sessions."""
