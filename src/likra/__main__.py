"""`python -m likra`, for launchers that start modules."""

from likra.cli.app import run

run()
