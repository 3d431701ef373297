"""The output of commands in the terminal."""
