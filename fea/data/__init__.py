"""Faces and what is known of them: tables of records, mixtures of them, and batches of prompts."""
