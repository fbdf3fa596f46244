"""Samples and what is asked of them: references, checks, disjoint parts, metrics and intervals."""
