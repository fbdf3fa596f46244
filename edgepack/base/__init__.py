"""Ground floor: errors, units, names, statistics and byte arithmetic on stdlib and numpy alone."""
