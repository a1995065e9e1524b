"""The part of threepiod that lives in the tested process and in the `threepio` command.

Here: the vocabulary of events, the journal, the now page, the wire protocol, the adapter and the reducer.
Not here: the daemon (package `threepiod`) and anything about one test runner (package `pytest_threepio`).
This module imports nothing, so that a tested process pays only for the modules it uses.
"""

__version__ = "0.1.0"
