"""Thin commands that the rules run, as `python -m workflow_scripts.<name>` from the repository root."""
