"""What can be typed: one command a file. Its signature is the options, its docstring the help.

A file imports at its head what its signature needs; the work is imported inside, so that `--help` is immediate.
"""
