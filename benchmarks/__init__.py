"""Measurements of threepiod beside pytest's own account of the same run: `python -m benchmarks --help`.

Nothing here is installed, and nothing but `poller` imports threepiod's code: what is compared with it must not rest
on it.
"""
