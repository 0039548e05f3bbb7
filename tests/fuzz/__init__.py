"""Arbitrary bytes against everything that reads what a stranger has written.

A target is a function of bytes that returns nothing and raises when a promise is broken.
`python -m tests.fuzz` runs them all; docs/fuzzing.md tells what they check.
"""
