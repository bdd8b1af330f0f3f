"""`python -m resprobe`, which launchers of several processes start."""

from resprobe.cli.main import main

main()
