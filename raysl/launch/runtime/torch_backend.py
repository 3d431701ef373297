"""How the workers of a Train group find each other."""

import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from typing import Any

import ray
from ray.train.torch import TorchConfig

INTERFACE = "GLOO_SOCKET_IFNAME"
_SIOCGIFADDR = 0x8915  # of Linux: asks for an interface's IPv4 address
_ADDRESS = slice(20, 24)  # where it stands in the answer


@dataclass
class TorchOverNodes(TorchConfig):
    """PyTorch's process group, over the interface by which Ray reaches each node.

    Left to itself, gloo takes the address that the host's name resolves to: on many hosts 127.0.1.1, which no other
    node reaches.
    """

    @property
    def backend_cls(self) -> Any:
        """Return the class that sets the process group up."""

        class OverNodes(super().backend_cls):  # type: ignore[misc]
            def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
                worker_group.execute(choose_interface)
                super().on_start(worker_group, backend_config)

        return OverNodes


def choose_interface() -> None:
    """Have gloo take the interface with Ray's address of this node, unless the environment names one."""
    address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    if INTERFACE not in os.environ and (name := interface_of(address)):
        os.environ[INTERFACE] = name


def interface_of(address: str) -> str | None:
    """Return the name of this machine's interface with an IPv4 address; None if there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(asking.fileno(), _SIOCGIFADDR, request)
            except OSError:  # it has no IPv4 address
                continue
            if socket.inet_ntoa(answer[_ADDRESS]) == address:
                return name
    return None
