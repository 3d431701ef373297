"""The commands of the command line: each calls `api` and prints."""
