"""What may have become of a planned run, in words that tables and reports share (see collect.py for their meaning)."""

RECORDED = ("ok", "diverged", "out_of_memory")
"""What a run writes of itself."""
FAILURES = ("diverged", "out_of_memory", "unreadable", "stale", "missing", "not_available")
"""Everything that is not ok, the one to name first first. Not available: a diagnostic of a run that kept nothing to compute it
from."""
