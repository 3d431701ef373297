"""Refuses secrets in a command line that a whole cluster can read."""

from collections.abc import Sequence

from raysl.errors import UserError
from raysl.outgoing import ADDRESS, read_address
from raysl.outgoing.secrets import mask_known


def check_public(options: Sequence[str]) -> None:
    """Raise UserError if an option holds a secret, because the whole cluster can read a job's command line."""
    for option in options:
        address = ADDRESS.search(option)
        if mask_known(option) != option or (address and read_address(address[0]).secrets):
            shown = option.replace(address[0], read_address(address[0]).shown) if address else option
            raise UserError(
                f"{shown.replace('=', ' ', 1)}: a job's command line is there for all to see, and this holds a secret; "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD belong into the head's environment, and a "
                "store's keys into a file on each node (~/.aws/credentials), or better, a role of the nodes opens it"
            )
