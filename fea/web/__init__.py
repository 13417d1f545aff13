"""Pages of this machine alone."""
