"""The Python entry: what a command does, without printing, signals or exit codes; the command line composes it.

`raysl.load`, `raysl.tune`, `raysl.train`, `raysl.plan` and `raysl.load_model` lead here.
"""
