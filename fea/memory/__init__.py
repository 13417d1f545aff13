"""The memory that a run will need, before it starts."""
