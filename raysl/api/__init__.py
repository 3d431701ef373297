"""The Python entry: does what a command does, without printing, signals or exit codes; the commands call it.

`raysl.load`, `raysl.tune`, `raysl.train`, `raysl.plan` and `raysl.load_model` are defined here.
"""
