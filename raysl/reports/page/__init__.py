"""The page: one HTML file of a results folder, which needs neither network nor scripts."""
