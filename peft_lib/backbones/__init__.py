"""Backbones: one file per family (how it is built and loaded, where its head is), found by `loading.get_backbone`.

Nothing is imported here: a run's fingerprint follows static imports, and must not reach the families it does not use.
"""
