"""Images on disk: the Parquet form, decoding, the decoded cache, and the folders that hold them."""
