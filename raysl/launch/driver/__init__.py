"""The driver of a search: which trials run next, what is selected, scored and kept."""
