"""`python -m threepio_client.cli` is the command `threepio`."""

from threepio_client.cli import main

main()
