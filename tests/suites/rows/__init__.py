"""The rows of the table: a module each, `rowNN_what.py`."""
