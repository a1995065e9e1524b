"""One module for each row of the fault table; `tests/faults/row.py` says what it holds."""
