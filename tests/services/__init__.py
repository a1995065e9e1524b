"""The daemon as a service under a real systemd, which runs in namespaces of its own: `python -m tests.services`."""
