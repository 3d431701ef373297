"""Text that leaves this program: its secrets are masked, and nothing in it steers a terminal."""

from raysl.outgoing.addresses import ADDRESS, Address, read_address
from raysl.outgoing.harmless import harmless
from raysl.outgoing.secrets import holds_secret, learn, learn_address, learn_credentials, mask
from raysl.outgoing.streams import guarded, presentable

__all__ = [
    "ADDRESS",
    "Address",
    "guarded",
    "harmless",
    "holds_secret",
    "learn",
    "learn_address",
    "learn_credentials",
    "mask",
    "presentable",
    "read_address",
]
