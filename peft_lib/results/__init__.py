"""What was measured: Parquet schemas, aggregation, statistics, published values. Never imports torch."""
