"""A search as a job of Ray's, on a cluster that is reached through its job server alone."""

import asyncio
import logging
import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from raysl.errors import ResourcesError, SearchError
from raysl.launch.cluster.address import check_listening, no_cluster, shown
from raysl.launch.cluster.shipping import LEFT_OUT, package_folder

# What Ray and the libraries below it raise of a server that is away, refuses, or is none of Ray's.
FAILURES = (OSError, RuntimeError, ValueError, KeyError, AuthenticationError)
TOO_EARLY, SUBMISSIONS = "try again later", 6  # each waits for 10 s there
SILENCE = 60.0  # seconds without a line after which a connection is made anew: some die without a word
ATTEMPTS, PAUSE = 30, 2.0  # how often, and after how many seconds each, a lost connection is tried again


def connect(address: str) -> JobSubmissionClient:
    """Return a connection to a job server.

    Raises ResourcesError where none answers, it refuses the token, or what it takes to follow a job is not installed.
    """
    if find_spec("aiohttp") is None:
        raise ResourcesError(f"--address {shown(address)}: needs what `pip install 'raysl[cluster]'` adds")
    check_listening(address)
    logging.disable(logging.WARNING)  # Ray tells of every step
    os.environ["RAY_API_SERVER_ADDRESS"] = address  # what may stand there overrides what is asked for
    try:
        return JobSubmissionClient(address)
    except FAILURES as error:
        raise no_cluster(address, error) from None


def submit(client: JobSubmissionClient, arguments: Sequence[str], folder: Path, variables: Mapping[str, str]) -> str:
    """Have a cluster's head start a command of this very raysl; return the job's id.

    folder: what it finds in its working directory.  variables: of its environment.
    Raises SearchError where the server does not take it.
    """
    environment = {
        "working_dir": str(folder),
        "py_modules": [package_folder()],
        "excludes": LEFT_OUT,
        "env_vars": dict(variables),
    }
    command = shlex.join(["python", "-m", "raysl", *arguments])
    for attempt in range(SUBMISSIONS):
        try:
            return client.submit_job(entrypoint=command, runtime_env=environment)
        except FAILURES as error:
            # A head that has only just started does not take jobs yet.
            if TOO_EARLY not in str(error) or attempt == SUBMISSIONS - 1:
                raise SearchError(f"the job server does not take the search ({_first_line(error)})") from None
        time.sleep(PAUSE)
    raise AssertionError("the last attempt returns or raises")


def follow(client: JobSubmissionClient, job_id: str, tell: Callable[[str], None]) -> int:
    """Pass on a job's log as it is written, until the job ends; return its exit code.

    Raises SearchError where the job was stopped, died, or can no longer be reached.
    """
    log = _Log(tell)
    failures = 0
    while True:
        try:
            asyncio.run(_tail(client, job_id, log))
            details = client.get_job_info(job_id)
            if details.status.is_terminal():
                log.begin()
                log.add(client.get_job_logs(job_id))  # what no connection has brought
                return _exit_code(details)
            failures = 0
        except FAILURES as error:
            failures += 1
            if failures == ATTEMPTS:
                raise SearchError(
                    f"{shown(client.get_address())} can no longer be reached ({_first_line(error)})"
                ) from None
        time.sleep(PAUSE)


class _Log:
    """A log that is read from its beginning again and again, and told once."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.told = self.read = 0  # characters

    def begin(self) -> None:
        """It is read from its beginning."""
        self.read = 0

    def add(self, text: str) -> None:
        """Tell the part of a text that is new."""
        if new := text[max(0, self.told - self.read) :]:
            self.tell(new)
        self.read += len(text)
        self.told = max(self.told, self.read)


async def _tail(client: JobSubmissionClient, job_id: str, log: _Log) -> None:
    """Read a log until the server closes it, or nothing comes for a while."""
    log.begin()
    lines = client.tail_job_logs(job_id)
    try:
        while True:
            async with asyncio.timeout(SILENCE):
                log.add(await anext(lines))
    except (StopAsyncIteration, TimeoutError):
        return


def _exit_code(details: JobDetails) -> int:
    if details.status == JobStatus.SUCCEEDED:
        return 0
    if details.driver_exit_code is not None:
        return int(details.driver_exit_code)
    if details.status == JobStatus.STOPPED:
        raise SearchError("the job was stopped")
    raise SearchError(f"the job died ({_first_line(details.message)})")


def _first_line(reason: object) -> str:
    return next(iter(str(reason or "").splitlines()), "no reason is known")
