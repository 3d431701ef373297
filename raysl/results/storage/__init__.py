"""Files of a results folder: written atomically, listed, and checked against their checksums."""
