"""YAML or a dict -> a frozen Experiment; unknown keys and values are refused, with the place and the choices."""

from raysl.config.experiment import load

__all__ = ["load"]
