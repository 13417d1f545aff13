"""A trained policy taken away, as a merged folder, an adapter or GGUF files: read back, compared with its run, with a card."""
