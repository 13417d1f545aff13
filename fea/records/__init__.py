"""The lines of data files: their keys, Action Units in all the shapes that people write, and what nobody knows."""
