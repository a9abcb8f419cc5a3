"""What was measured: Parquet schemas, aggregation, published values. Never imports torch."""
