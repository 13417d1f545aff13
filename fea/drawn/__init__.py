"""The drawn world: faces whose Action Units are true by construction."""
