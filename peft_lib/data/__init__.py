"""Data sets: one file each (where the rows come from, what the labels are, how they are split), and what serves all.

`loaders.get_loader(name)` imports a data set's file; `prepare.prepare` turns its rows into model input, once;
`batches.load_prepared` reads that folder in every run. Nothing is imported here: a run's fingerprint follows static
imports, and must not reach the data sets that it does not use.
"""
