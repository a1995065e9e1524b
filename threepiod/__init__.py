"""The daemon: takes events from adapters and journals, keeps them in the store, answers queries."""
