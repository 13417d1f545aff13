"""A language model rates written analyses: an address, a rubric, verdicts one by one on the disk, and what they come to."""
