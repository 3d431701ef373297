"""Checks the launch options of the command line and of `raysl.tune`."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from raysl.errors import UserError, checked_path, choices, quoted
from raysl.launch.cluster.address import check_address, is_job_server
from raysl.launch.cluster.budget import Limits
from raysl.launch.cluster.cluster_file import find_cluster_file
from raysl.launch.cluster.connected import is_connected
from raysl.launch.driver.options import Backend, Options, Retrain, WhoseScores


@dataclass(frozen=True)
class Launch:
    """The launch options of a search as they were given: target and limits.

    own_process: whether the process runs nothing but the search, as a command's does (`launch.driver.options`).
    """

    results: str | None = None
    backend: str = "ray"
    address: str | None = None
    cluster: Path | None = None
    tracking: str | None = None
    max_concurrent: int | None = None
    max_hours: float | None = None
    max_cost: float | None = None
    score: str = "selected"
    retrain: str = "nothing"
    own_process: bool = False

    @property
    def from_outside(self) -> bool:
        """Whether the search is submitted to a job server, so that the cluster's head drives it."""
        return is_job_server(self.address)


def launch_options(launch: Launch) -> Options:
    """Return the checked options of a search.

    Raises UserError if one is invalid; the message names the command line's option, `--max-hours` for `max_hours`.
    """
    check_address(launch.address)
    for option, place in (("--results", launch.results), ("--tracking", launch.tracking)):
        checked_path(Path(place or ""), option)
    named = (
        ("--score", launch.score, WhoseScores),
        ("--backend", launch.backend, Backend),
        ("--retrain", launch.retrain, Retrain),
    )
    for option, value, type_ in named:
        if value not in get_args(type_):
            raise UserError(f"{option} {value}: {choices(str(value), get_args(type_))}")
    for option, limit in (("--max-hours", launch.max_hours), ("--max-cost", launch.max_cost)):
        check_number(option, limit)
    check_whole("--max-concurrent", launch.max_concurrent, 1)
    if launch.backend == "inline":
        _check_inline(launch)
    if launch.max_cost is not None and launch.address is None and not is_connected():
        raise UserError(
            f"--max-cost {launch.max_cost:g}: this machine has no price; --address names a cluster that has"
        )
    return _options(launch)


def _options(launch: Launch) -> Options:
    file = find_cluster_file(launch.cluster, launch.address)
    return Options(
        backend=cast(Backend, launch.backend),
        address=launch.address,
        max_concurrent=launch.max_concurrent,
        score=cast(WhoseScores, launch.score),
        retrain=cast(Retrain, launch.retrain),
        cluster_file=file,
        limits=Limits(launch.max_hours, launch.max_cost, file),
        own_process=launch.own_process,
    )


def check_number(option: str, value: Any) -> None:
    """Raise UserError if a value is neither None nor a number from 0 on."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise UserError(f"{option} {quoted(value)}: must be a number from 0 on")


def check_whole(option: str, value: Any, least: int, most: float = math.inf) -> None:
    """Raise UserError if a value is neither None nor a whole number from `least` to `most`."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        upto = "" if most == math.inf else f" to {most:.0f}"
        raise UserError(f"{option} {quoted(value)}: must be a whole number from {least}{upto or ' on'}")


def _check_inline(launch: Launch) -> None:
    given = {"--address": launch.address, "--cluster": launch.cluster}
    for option, value in given.items():
        if value is not None:
            raise UserError(f"{option} {value}: --backend inline trains in this process; leave one of the two out")
    if launch.max_concurrent is not None and launch.max_concurrent > 1:
        raise UserError(
            f"--max-concurrent {launch.max_concurrent}: --backend inline trains one trial at a time; choices: 1, "
            "--backend ray"
        )
