"""What touches the disk: records, stores, checkpoints, weights, Parquet."""
