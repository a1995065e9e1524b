"""The pytest plugin: hooks to events. All the work is in `plugin.py`, loaded by pytest's entry point."""
