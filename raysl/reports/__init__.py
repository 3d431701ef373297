"""A results folder as a page and as figures, from its tables and test features, without torch and ray."""
