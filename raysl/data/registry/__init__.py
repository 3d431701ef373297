"""Known data sets, and each form that sets are published in: archives, folders, Parquet shards."""
