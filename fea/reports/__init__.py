"""Results as tables, curves and pages."""
