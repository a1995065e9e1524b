"""`python -m threepiod` is the command `threepiod`."""

from threepiod.cli import main

main()
