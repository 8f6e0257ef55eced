"""Run the command line: `python -m testbed`."""

from __future__ import annotations

from testbed.cli.app import main

main()
