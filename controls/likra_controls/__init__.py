"""Data of likra's control models; see README.md."""
