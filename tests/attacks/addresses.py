"""Addresses of tracking servers, stores and clusters that a user might mistype or an attacker might choose."""

import random
import re
import string
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote, unquote

from raysl.commands.public import check_public
from raysl.errors import UserError
from raysl.launch.cluster.address import check_address, check_listening, is_job_server, shown
from raysl.outgoing import mask, read_address
from raysl.outgoing.addresses import DATABASES
from raysl.outgoing.secrets import forget
from raysl.results.storage.store import Store
from raysl.tracking import validate_uri
from raysl.tracking.uri import without_password

SCHEMES = (
    "http", "https", "HTTP", "postgresql", "postgresql+psycopg2", "mysql+pymysql", "mssql+pyodbc", "sqlite", "s3", "gs",
    "ray", "htp", "databricks", "ftp", "file", "",
)  # fmt: skip
HOSTS = (
    "host",
    "host:5000",
    "127.0.0.1:1",
    "[::1]:5000",
    "host:99999",
    "host:port",
    "[::1",
    "",
    "hö.st",
    "a b",
    "host:",
)
NAMES = (
    "token",
    "password",
    "passwd",
    "pwd",
    "secret",
    "api_key",
    "access_key",
    "sslkey",
    "sslpassword",
    "sig",
    "x",
    "odbc_connect",
)
ODD = "/@:?#&=+%;'\"\\<>{}[]|~ ,!$*é€\u202e\x1b\t"
WORDS = 5  # letters of a secret that would give it away


class Case(NamedTuple):
    """An address, and the secret in it; what is not to be seen are its `words`, however it is written."""

    address: str
    words: tuple[str, ...]


def cases(seed: int, count: int) -> Iterator[Case]:
    """Yield so many cases, the same for the same seed."""
    draw = random.Random(seed)
    for _ in range(count):
        words = tuple(f"Z{''.join(draw.choices(string.ascii_letters, k=WORDS))}9" for _ in range(draw.randint(1, 3)))
        secret = "".join(word + "".join(draw.choices(ODD, k=draw.choice((0, 1, 1, 2)))) for word in words)
        yield Case(_address(draw, secret), words)


def _address(draw: random.Random, secret: str) -> str:
    written = draw.choice((secret, quote(secret, safe=""), quote(secret), secret.replace("/", "%2f")))
    user = draw.choice(("alice", "", "a@b", "me%40corp"))
    host, path = draw.choice(HOSTS), draw.choice(("", "/", "/runs", "/a@b", "/a/b;c"))
    name = draw.choice(NAMES)
    who, query, fragment = "", "", ""
    match draw.randrange(6):
        case 0 | 1:
            who = f"{user}:{written}@"
        case 2:
            who = f"{written}@"
            if draw.random() < 0.3:
                who = f":{written}@"
        case 3:
            query = f"?{name}={written}"
        case 4:
            value = quote(f"DRIVER={{X}};UID=me;PWD={secret};", safe="")
            query = f"?mode=ro&odbc_connect={value}&sslmode=require"
        case _:
            fragment = f"#{draw.choice(('', 'token='))}{written}"
    scheme = draw.choice(SCHEMES)
    separator = draw.choice(("://", "://", "://", "://", ":///", ":/", ":")) if scheme else draw.choice(("", "//"))
    if scheme == "sqlite" and (fragment or who):
        scheme = "postgresql"  # all that follows sqlite:/// is a path
    if who == f"{written}@" and (DATABASES.match(f"{scheme}://") or scheme in ("s3", "gs") or ":" in written):
        who = f":{who}"  # a database's user alone is a name, a store has none, and what stands before a : is one
    if not who and fragment and scheme in ("s3", "gs"):
        fragment, query = "", f"?{name}={written}"
    return f"{scheme}{separator}{who}{host}{path}{query}{fragment}"


def run(case: Case) -> str:
    """Use an address as raysl does; return what becomes of it as that of a tracking server, or what is at fault.

    That is `accepted` or `refused`; a fault's text begins with `fault`.
    """
    forget()
    try:
        return _tried(case)
    except Exception as error:  # whatever it is, it is at fault
        return f"fault: {case.address!r} raises {type(error).__name__}: {error}"
    finally:
        forget()


def _tried(case: Case) -> str:
    outcome, said = "accepted", [without_password(case.address), read_address(case.address).bare]
    try:
        validate_uri(case.address)
    except UserError as error:
        outcome = "refused"
        said += [str(error), repr(error)]
    said += list(_said_by_others(case.address))
    said.append(mask(f"API request to {case.address}/api failed: Max retries exceeded with url: {quote(case.address)}"))
    if re.match("file:(///|/(?!/))", case.address):
        return outcome  # a path may hold any character
    for text in said:
        if _is_seen(case, text):
            return f"fault: {case.address!r} is shown as {text!r}"
    return outcome


def _said_by_others(address: str) -> Iterator[str]:
    yield shown(address)
    for use in (check_address, _no_connection, lambda given: check_public([f"--tracking={given}"]), _store):
        try:
            use(address)
        except UserError as error:
            yield str(error)


def _no_connection(address: str) -> None:
    if is_job_server(address) and "127.0.0.1:1" not in address:
        return  # no look-up of names
    if "127.0.0.1:1" in address:
        check_listening(address)


def _store(address: str) -> None:
    if "://" in address and not address.startswith(("s3", "gs")):  # those ask the network where a bucket is
        store = Store(address)
        raise UserError(f"{store} {store!r} {store.address('rows')}")


def _is_seen(case: Case, text: str) -> bool:
    return any(word in form for word in case.words for form in (text, unquote(text), unquote(unquote(text))))
