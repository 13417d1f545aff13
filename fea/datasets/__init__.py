"""All that is known of the data sets people use: which Action Units were looked for, and under which terms they come.

To add one: a `Dataset` in `dataset.py`, with the source of each fact beside it. Nothing else has to change: a record belongs to
it if the value of its key "dataset" begins with its name ("DISFA-Test-clean" is DISFA).
"""
