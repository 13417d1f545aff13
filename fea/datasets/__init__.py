"""The data sets that people use, one a file: what is known of each, its license, its folds, and how it becomes JSON lines.

To add one: a file with a `Dataset`, with the source of each fact beside it, and a `Format`, whose `faces` takes a `Source` and
yields a `Face` or a `Dropped` for each row; then name both in `known.py`. Nothing else has to change: `fea data convert NAME`
finds it there, and a record belongs to it if the value of its key "dataset" begins with its name ("DISFA-Test-clean" is DISFA).
"""
