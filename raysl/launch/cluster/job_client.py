"""Runs a search as a Ray job, on a cluster that is reached through its job server alone."""

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

# Raised by Ray and its libraries if a server does not answer, refuses, or is not Ray's.
FAILURES = (OSError, RuntimeError, ValueError, KeyError, AuthenticationError)
TOO_EARLY, SUBMISSIONS = "try again later", 6  # each attempt waits for 10 s on the server
SILENCE = 60.0  # seconds without a line after which the client reconnects: some connections die unnoticed
SCRIPT = "raysl-job.sh"  # in the job's working directory
# A node's `python` may be missing, or another one than Ray's. The raylet's command line names Ray's.
START = """\
pid=$PPID
while [ "${pid:-0}" -gt 1 ]; do
  python=$(tr '\\0' '\\n' < "/proc/$pid/cmdline" | sed -n 's/^--python_worker_command=\\([^ ]*\\).*/\\1/p')
  [ -x "$python" ] && exec "$python" -m raysl "$@"
  pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status")
done
exec python -m raysl "$@"
"""
ATTEMPTS, PAUSE = 30, 2.0  # attempts to restore a lost connection, and seconds between them


def connect(address: str) -> JobSubmissionClient:
    """Return a connection to a job server.

    Raises ResourcesError if no server answers, it refuses the token, or a library to follow a job is not installed.
    """
    if find_spec("aiohttp") is None:
        raise ResourcesError(f"--address {shown(address)}: needs what `pip install 'raysl[cluster]'` adds")
    check_listening(address)
    logging.disable(logging.WARNING)  # Ray logs every step
    os.environ["RAY_API_SERVER_ADDRESS"] = address  # a value there would override the argument
    try:
        return JobSubmissionClient(address)
    except FAILURES as error:
        raise no_cluster(address, error) from None


def submit(client: JobSubmissionClient, arguments: Sequence[str], folder: Path, variables: Mapping[str, str]) -> str:
    """Submit a raysl command as a job that runs this process's raysl on the cluster's head; return the job's id.

    The job runs in the Python of the head's Ray.
    folder: becomes the job's working directory; a script is added to it.  variables: of its environment.
    Raises SearchError if the server does not accept the job.
    """
    environment = {
        "working_dir": str(folder),
        "py_modules": [package_folder()],
        "excludes": LEFT_OUT,
        "env_vars": dict(variables),
    }
    (folder / SCRIPT).write_text(START)
    command = shlex.join(["exec", "sh", SCRIPT, *arguments])  # with `exec`, the script's parent is a process of Ray's
    for attempt in range(SUBMISSIONS):
        try:
            return client.submit_job(entrypoint=command, runtime_env=environment)
        except FAILURES as error:
            # A head that has just started does not accept jobs yet.
            if TOO_EARLY not in str(error) or attempt == SUBMISSIONS - 1:
                raise SearchError(f"the job server does not take the search ({_first_line(error)})") from None
        time.sleep(PAUSE)
    raise AssertionError("the last attempt returns or raises")


def follow(client: JobSubmissionClient, job_id: str, tell: Callable[[str], None]) -> int:
    """Return a job's exit code when it ends; pass on its log as it is written.

    tell: called with new text of the log.
    Raises SearchError if the job was stopped, died, or can no longer be reached.
    """
    log = _Log(tell)
    failures = 0
    while True:
        try:
            asyncio.run(_tail(client, job_id, log))
            details = client.get_job_info(job_id)
            if details.status.is_terminal():
                log.begin()
                log.add(client.get_job_logs(job_id))  # the part that no connection has delivered
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
    """A log that each connection reads from its beginning; each part is passed on once."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.told = self.read = 0  # characters

    def begin(self) -> None:
        """Begin to read the log from its beginning."""
        self.read = 0

    def add(self, text: str) -> None:
        """Pass on the new part of a text."""
        if new := text[max(0, self.told - self.read) :]:
            self.tell(new)
        self.read += len(text)
        self.told = max(self.told, self.read)


async def _tail(client: JobSubmissionClient, job_id: str, log: _Log) -> None:
    """Read a log until the server closes it, or sends nothing for a while."""
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
