"""What a study is: schema, catalogs, grids, run specifications, fingerprints. Never imports torch."""
