"""A step of a training, for tests where it makes no difference which."""

from raysl.methods._method import Step

FIRST = Step(0, 1)
