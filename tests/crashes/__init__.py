"""Runs that die, everywhere and in every way: `python -m tests.crashes`. What is right comes from the suite's own last words."""
