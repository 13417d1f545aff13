"""Faces and what is known of them: records, images, batches of prompts, and drawn faces to practice on."""
