"""Families of models, one a file. To add one: its record of what differs from the others (see `qwen_vl`)."""
