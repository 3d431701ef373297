"""`raysl methods`, `raysl datasets` and `raysl backbones`."""


def methods() -> None:
    """List the learning methods and their hyperparameters."""
    from raysl.commands import catalogue

    catalogue.methods()


def datasets() -> None:
    """List the known data sets and where they are."""
    from raysl.commands import catalogue

    catalogue.datasets()


def backbones() -> None:
    """List the backbones."""
    from raysl.commands import catalogue

    catalogue.backbones()
