"""The published tables: built from the records, written and read, and compared with a paper's."""
