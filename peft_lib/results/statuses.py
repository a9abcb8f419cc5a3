"""What may have become of a planned run, in words that tables and reports share (see collect.py for their meaning)."""

RECORDED = ("ok", "diverged", "out_of_memory")
"""What a run writes of itself."""
FAILURES = ("diverged", "out_of_memory", "unreadable", "stale", "missing")
"""Everything that is not ok, the one to name first first."""
