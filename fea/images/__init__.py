"""Opens every picture of the project."""
