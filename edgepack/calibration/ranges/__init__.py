"""From statistics to a range; one file per method."""
