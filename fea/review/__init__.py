"""People look at what was written: their decisions, and the file as they leave it."""
