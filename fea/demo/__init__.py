"""The method on a laptop, on drawn faces."""
