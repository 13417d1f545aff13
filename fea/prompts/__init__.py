"""What is asked of a model, and what is read from its answer."""
