"""Preference pairs: of a policy's own answers, with one entity swapped in the text, in the image or in the question."""
