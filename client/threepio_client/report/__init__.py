"""Reports: one reading of a run (`model.py`), and a module for each format that is written from it."""
