"""Drivers as on other machines: their signs of life alone tell whether they live, and their clocks differ."""

import sys

GONE = 10.0  # seconds without a sign of life after which such a driver counts as gone

_DRIVER = f"""
import sys, time
ahead, machine, *sys.argv[1:] = float(sys.argv[1]), *sys.argv[2:]
real = time.time
time.time = lambda: real() + ahead
from raysl.launch.coordination import leases
leases.place, leases.BEAT, leases.GONE = (lambda: machine), 1.0, {GONE}
from raysl.cli import main
main()
"""


def command(machine: str, ahead: float, *arguments: object) -> list[str]:
    """Return a command line of raysl on another machine, whose clock is so many seconds ahead."""
    return [sys.executable, "-c", _DRIVER, str(ahead), machine, *map(str, arguments)]
