"""Parsing of addresses (URIs): their secrets, and how they may be shown."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, unquote_plus, urlsplit

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

MASK = "***"
LEAST_PART = 4  # characters; shorter parts of a password are not masked by themselves
_DATABASE_USER = re.compile("[^:/]*(:[^@]*)?@")  # as SQLAlchemy's own pattern has it
DATABASES = re.compile(r"(sqlite|postgres(ql)?|mysql|mariadb|mssql|oracle)(\+\w+)?://", re.IGNORECASE)
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://.*", re.DOTALL)  # bounded: quick on a text without any
# Schemes in which the name before an @ is shown: it is a container's or a user's, and no token.
_CONTAINERS = {"abfs", "abfss", "hdfs", "viewfs"}
_STORES = _CONTAINERS | {"s3", "gs", "gcs"}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/+|[A-Za-z][A-Za-z0-9+.-]*:(?=[^@]*:[^@]*@)|/*")
# Parameters that are shown: they are options of the connection, not credentials.
_HARMLESS = frozenset(
    re.findall(
        r"\w+",
        "allow_bucket_creation allow_bucket_deletion allow_delayed_open application_name autocommit background_writes "
        "cache charset check_directory_existence_before_creation check_same_thread connect_timeout database dbname "
        "driver encrypt endpoint_override host isolation_level mode nolock port read_timeout region "
        "retry_limit_seconds scheme ssl ssl_disabled sslmode target_session_attrs timeout tls_verify_certificates "
        "trusted_connection trustservercertificate unix_socket use_unicode vfs write_timeout",
    )
)
_ODBC_HARMLESS = frozenset({"driver", "server", "database", "port", "uid", "encrypt", "trusted_connection"})


class Address(NamedTuple):
    """An address and its secrets.

    shown: with `***` in the place of each secret.  bare: without user, password, parameters and fragment.
    user: that of the password; empty if there is none.  secrets: as they are written, and decoded.
    is_ambiguous: whether the end of a password in it is unclear.
    """

    shown: str
    bare: str
    user: str
    secrets: frozenset[str]
    is_ambiguous: bool = False


def read_address(address: str) -> Address:
    """Return the parts of an address, malformed ones included; a part that may be secret counts as secret.

    Databases are parsed as by SQLAlchemy, others by their delimiters. If an address can be read in two ways, the
    secrets of both count.
    """
    if not re.search("[@?#;]", address):
        return Address(address, address.rstrip("/") if "://" in address else address, "", frozenset())
    if DATABASES.match(address):
        return _database(address) or _other(address)._replace(is_ambiguous=True)
    return _other(address)


def _database(address: str) -> Address | None:
    """Return the parts of a database's address; None if SQLAlchemy cannot parse it, or it can be read otherwise."""
    scheme, _, rest = address.partition("://")
    found = _DATABASE_USER.match(rest)
    who = found[0].removesuffix("@") if found else ""
    place, mark, query = rest.removeprefix(f"{who}@" if found else "").partition("?")
    is_path = scheme.lower().startswith("sqlite") and place.startswith("/")  # which may hold any character
    unnamed = any("@" in part.partition("=")[0] for part in re.split("[&;]", query))
    url = _sqlalchemy_url(address)
    if url is None or "?" in who or unnamed or (re.search("[@#]", place) and not is_path):
        return None
    shown_query, secrets = _query(query)
    user, colon, password = who.partition(":")
    if colon:
        secrets |= {password, unquote(password), str(url.password or "")}
    shown_who = f"{user}:{MASK}@" if colon and "@" not in user else f"{MASK}@" if found else ""
    shown = f"{scheme}://{shown_who}{place}{mark}{shown_query}"
    return Address(shown, f"{scheme}://{place}", unquote(user), frozenset(secrets - {""}))


def _sqlalchemy_url(address: str) -> "URL | None":
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(address)
    except (ArgumentError, ValueError):
        return None


def _other(address: str) -> Address:
    found = _SCHEME.match(address)
    assert found is not None, "the pattern matches an empty text too"
    scheme, rest = found[0], address[found.end() :]
    name = scheme.partition(":")[0].lower()
    if re.fullmatch("file:(/|//{2,})", scheme, re.IGNORECASE):
        return Address(address, address.rstrip("/"), "", frozenset())
    who, place, is_ambiguous = _split(rest, name)
    place, shown_place, secrets = _parts_of_place(place)
    user, colon, password = who.partition(":")
    shown_who = f"{who}@" if who else ""
    if who and who != "anonymous" and (colon or name not in _CONTAINERS):
        shown_who = f"{MASK}@"
        if colon:
            secrets |= {password or user, unquote(password or user), f"{user}:{password}"}
        elif not DATABASES.match(address):
            secrets |= {user, unquote(user)}
    if is_ambiguous:  # a program that splits it elsewhere may print a part of it
        secrets |= {part for part in re.split("[/?#@:]", who) if len(part) >= LEAST_PART}
    if is_ambiguous and name not in _STORES and re.search("[?#]", who):
        secrets |= {part for part in re.split("[/?#@:=&]", place) if len(part) >= LEAST_PART}
        return Address(f"{scheme}{MASK}", f"{scheme}{MASK}", unquote(user), frozenset(secrets - {""}), True)
    shown = f"{scheme}{shown_who}{shown_place}"
    known_user = unquote(user) if colon else ""
    return Address(shown, f"{scheme}{place}".rstrip("/"), known_user, frozenset(secrets - {""}), is_ambiguous)


def _parts_of_place(text: str) -> tuple[str, str, set[str]]:
    """Return a place without its parameters and fragment, the place as it may be shown, and the secrets in it."""
    place, hash_, fragment = text.partition("#")
    place, mark, query = place.partition("?")
    place, semicolon, parameters = place.partition(";") if re.search(";.*=", place) else (place, "", "")
    shown_query, secrets = _query(query)
    shown_parameters, more = _query(parameters)
    shown = f"{place}{semicolon}{shown_parameters}{mark}{shown_query}{hash_}{MASK if fragment else ''}"
    return place, shown, secrets | more | _secrets_of_fragment(fragment)


def _split(rest: str, scheme: str) -> tuple[str, str, bool]:
    """Return user and password, the place after them, and whether the end of the password is unclear."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    beyond = rest[len(authority) :]
    if "@" in beyond and (":" in authority or scheme not in _STORES):
        who, _, place = rest.rpartition("@")
        return who, place, True
    who, _, place = authority.rpartition("@")
    return who, place + beyond, False


def _query(query: str) -> tuple[str, set[str]]:
    """Return parameters as they may be shown, and the secrets among their values."""
    parts, secrets = [], set()
    for part in re.split("([&;])", query):
        name, equals, value = part.partition("=")
        known = equals and name.lower() in _HARMLESS and "@" not in value
        if part in ("&", ";", "") or known or (equals and not value):
            parts.append(part)
        else:
            parts.append(f"{name}={MASK}" if equals else MASK)
            secrets |= {value, unquote_plus(value), unquote(value)} if equals else {part, unquote_plus(part)}
            secrets |= set(_odbc_secrets(unquote_plus(value)))
    return "".join(parts), secrets


def _odbc_secrets(value: str) -> Iterator[str]:
    for part in value.split(";"):
        name, equals, found = part.partition("=")
        if equals and found and name.strip().lower() not in _ODBC_HARMLESS:
            yield from {found, found.strip("{}")}


def _secrets_of_fragment(fragment: str) -> set[str]:
    if not fragment or fragment.startswith("/"):  # the place of a page
        return _query(fragment.partition("?")[2])[1]
    return {fragment, unquote(fragment)} | _query(fragment)[1]


def is_readable(address: str) -> bool:
    """Return whether urllib finds a host in an address, and no port or a valid one."""
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
