"""The file systems that a results folder can be on, and their errors in raysl's words."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
from pyarrow import fs

from raysl.errors import ResultsError
from raysl.outgoing import learn_credentials, read_address

# S3 without delayed opening starts a multipart upload for every small file; GCS retries for 15 minutes by default.
_OPTIONS = {"s3": "allow_delayed_open=true", "gs": "retry_limit_seconds=30", "gcs": "retry_limit_seconds=30"}
_KEY_AND_BUCKET = re.compile(r"^When .*?: (?=AWS Error)")  # begins S3's messages; the place in ours names both
_AWS_FILE, _AWS_KEYS = "~/.aws/credentials", ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
# raysl gives up on an object store that does not answer within a minute, and waits for one that restarts. pyarrow's
# defaults would try for 99 s, but would not retry after a 503 (slow down).
_ATTEMPTS, _CONNECT_SECONDS, _ANSWER_SECONDS = 5, 5.0, 8.0


def without_keys(uri: str) -> str:
    """Return an address without its secrets: keys before an @, which may hold a slash, and the query."""
    return read_address(uri).bare if "://" in uri else uri


def file_system(uri: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a path or URI, and the path in it; raises pyarrow's errors for an unknown kind.

    AWS's keys in a credentials file are masked in raysl's output from now on, if they open the place.
    """
    scheme, separator, _ = uri.partition("://")
    if not separator:
        return fs.LocalFileSystem(), uri
    if scheme == "s3":
        learn_credentials(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or _AWS_FILE, _AWS_KEYS)
    if option := _OPTIONS.get(scheme):
        uri = f"{uri}{'&' if '?' in uri else '?'}{option}"
    try:
        found, root = fs.FileSystem.from_uri(uri)
    except pa.ArrowInvalid as error:
        raise pa.ArrowInvalid(str(error).replace(uri, without_keys(uri))) from None
    return _patient(found) if scheme == "s3" else found, root.rstrip("/")


def _patient(s3: fs.S3FileSystem) -> fs.S3FileSystem:
    """Return the same file system with timeouts and retries, which no address can set."""
    _, (options,) = s3.__reduce__()
    attempts = fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS)
    times = {"connect_timeout": _CONNECT_SECONDS, "request_timeout": _ANSWER_SECONDS}
    return fs.S3FileSystem(**options | times, retry_strategy=attempts)


@contextmanager
def named(place: str, *, absent: bool = False) -> Iterator[None]:
    """Turn file system errors into a ResultsError that names the place; `absent` lets FileNotFoundError through."""
    try:
        yield
    except UnicodeEncodeError:
        raise ResultsError(f"{place}: its name is not UTF-8, and Arrow opens no other") from None
    except (OSError, pa.ArrowException) as error:
        if absent and isinstance(error, FileNotFoundError):
            raise
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise ResultsError(f"{place}: {_KEY_AND_BUCKET.sub('', reason)}") from None  # its text may hold the keys
