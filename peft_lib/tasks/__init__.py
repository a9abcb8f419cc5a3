"""Tasks: what a run learns, one file each; `loading.get_task(name)` finds them.

Nothing is imported here: a run's fingerprint follows static imports, and must not reach the tasks it does not have.
"""
