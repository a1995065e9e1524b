"""Suites that break reporters: a table of rows, one checker for all of them. See `docs/suites.md`."""
