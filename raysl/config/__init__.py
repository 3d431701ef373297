"""YAML or a dict -> a frozen Experiment; what it does not know it refuses, with the place and the choices."""

from raysl.config.experiment import load

__all__ = ["load"]
