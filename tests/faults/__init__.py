"""What threepiod must survive: an oracle, faults for real, and the bugs that prove the oracle: `python -m tests.faults`."""
