"""The secrets that this process knows, and texts without them.

Secrets come from addresses and from the environment. A server, a library or a traceback may repeat one in any form: as
it is written in an address, quoted, in JSON, in HTML, or in base64 with the user's name.
"""

import configparser
import json
import os
import re
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from raysl.outgoing.addresses import MASK, read_address

LONG = 6  # characters; a secret of at least as many is masked within a word too
_WORDS = ("PASSWORD", "PASSWD", "PASSPHRASE", "SSHPASS", "SECRET", "TOKEN", "APIKEY", "CREDENTIAL", "CREDENTIALS")
_NO_SECRET = frozenset(("FILE", "PATH", "DIR", "FOLDER", "SOCK", "URI", "URL", "MODE", "NAME", "TTL", "TIMEOUT", "ID"))
_CERTAIN = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "RAY_AUTH_TOKEN", "AWS_ACCESS_KEY_ID", "MYSQL_PWD")
_ADDRESS_NAMES = re.compile(r"(^|_)(URI|URL|PROXY|DSN|ADDRESS|ENDPOINT)(_|$)", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?[\d.,]+([eE][-+]?\d+)?")
_BASE64_ENDS = "[A-Za-z0-9+/=_-]*"

# Secrets that are recognised by their position, known or not.
_IN_ADDRESS = re.compile(
    r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]{0,30}://)"
    r"(?:[^\s/?#@'\"<>:]{0,500}:(?!\d{1,5}[/?#])[^\s@'\"<>]{0,500}(?:@[^\s@/'\"<>]{0,500}){0,9}"
    r"|(?<!abfs://)(?<!abfss://)(?<!hdfs://)(?!anonymous@)[^\s/?#@'\"<>:]{1,500})@",
    re.IGNORECASE,
)
_SECRET_NAME = (
    r"[\w.%-]{0,99}(?:passw|passphrase|pwd|secret|token|api_?key|access_?key|account_?key|sslkey|signature|credential|odbc_connect)"
    r"[\w.-]{0,99}"
)
_PARAMETER = re.compile(rf"(?P<name>[?&;#]{_SECRET_NAME}=)[^&;\s'\"<>]+", re.IGNORECASE)
_HEADER = re.compile(
    r"(?P<name>\b(?:(?:proxy-)?authorization|(?:set-)?cookie|x-api-key|x-amz-security-token)['\"]?\s*[:=]\s*['\"]?)"
    r"(?P<kind>(?:Basic|Bearer|Digest|Token)\s+)?[^'\"\r\n,]+",
    re.IGNORECASE,
)

_lock = threading.Lock()
_learnt: dict[tuple[str, str], None] = {}  # secrets with the user that each goes with


def learn(secret: str, user: str = "") -> None:
    """Mask a secret from now on.

    user: the name that is sent to a server together with the secret.
    """
    if secret.strip(MASK[0]):
        with _lock:
            _learnt[secret, user] = None


def learn_address(address: str) -> None:
    """Mask the secrets of an address from now on."""
    found = read_address(address)
    for secret in found.secrets:
        learn(secret, found.user)


def learn_credentials(file: str, names: Iterable[str]) -> None:
    """Mask from now on the values that a credentials file in INI form has for some keys, in any section.

    A file that is missing or cannot be read is left to the library that needs it.
    """
    parser = configparser.ConfigParser(interpolation=None)
    with suppress(configparser.Error, OSError, ValueError):
        parser.read(Path(file).expanduser(), encoding="utf-8")
        for section in parser.sections():
            for name in names:
                learn(parser.get(section, name, fallback=""))


def mask(text: str) -> str:
    """Return a text with `***` for each known secret, and for any text at the position of a secret.

    Short secrets are masked only as whole words, and short numbers only in addresses, so that tables stay readable.
    """
    text = mask_known(text)
    if "://" in text:
        text = _IN_ADDRESS.sub(rf"\g<scheme>{MASK}@", text)
    if "=" in text:
        text = _PARAMETER.sub(rf"\g<name>{MASK}", text)
    if ":" in text or "=" in text:
        text = _HEADER.sub(lambda found: f"{found['name']}{found['kind'] or ''}{MASK}", text)
    return text


def mask_known(text: str) -> str:
    """Return a text with `***` for each known secret."""
    pattern = _pattern(tuple(_learnt), _from_environment())
    return text if pattern is None else pattern.sub(MASK, text)


def forget() -> None:
    """Forget what was learnt; the environment's secrets stay."""
    with _lock:
        _learnt.clear()


def _from_environment() -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for name in os.environ:
        if not _may_hold_secret(name) or not (value := os.environ.get(name)):
            continue
        if holds_secret(name) and (name in _CERTAIN or _is_secret(value)):
            found.append((value, os.environ.get("MLFLOW_TRACKING_USERNAME", "") if name in _CERTAIN else ""))
        elif "://" in value:
            found += _of_address(value)
    return tuple(found)


@lru_cache(maxsize=256)
def _of_address(address: str) -> tuple[tuple[str, str], ...]:
    found = read_address(address)
    return tuple((secret, found.user) for secret in sorted(found.secrets))


@lru_cache(maxsize=4096)
def _may_hold_secret(name: str) -> bool:
    return holds_secret(name) or _ADDRESS_NAMES.search(name) is not None


@lru_cache(maxsize=4096)
def holds_secret(name: str) -> bool:
    """Return whether an environment variable of this name holds a secret, by the name alone."""
    words = name.upper().split("_")
    named = any(word.endswith(_WORDS) or word == "KEY" for word in words)
    return name in _CERTAIN or (named and words[-1] not in _NO_SECRET)


def _is_secret(value: str) -> bool:
    """Return whether the value of a variable named like a secret is one: no switch, number, address or path."""
    return len(value) >= LONG and "://" not in value and not _NUMBER.fullmatch(value) and not _is_there(value)


@lru_cache(maxsize=256)
def _is_there(path: str) -> bool:
    try:
        return "/" in path and os.path.exists(os.path.expanduser(path))
    except ValueError:
        return False


@lru_cache(maxsize=8)
def _pattern(*known: tuple[tuple[str, str], ...]) -> re.Pattern[str] | None:
    forms = {form for pairs in known for secret, user in pairs for form in _forms(secret, user)}
    if not forms:
        return None
    return re.compile("|".join(sorted(forms, key=lambda form: (-len(form), form))))


def _forms(secret: str, user: str) -> Iterator[str]:
    """Yield patterns of all forms in which a secret may be written."""
    written = "".join(map(_character, secret))
    if _NUMBER.fullmatch(secret):
        yield rf"(?<=[:/]){written}(?=@)" if len(secret) < LONG else rf"(?<![\w.]){written}(?![\w.])"
    elif len(secret) >= LONG:
        yield written
    elif len(secret) > 2:
        yield rf"(?<!\w){written}(?!\w)"
    else:
        yield rf"(?<=[:/='\"]){written}(?=[@'\"])"
    yield from _base64_forms(secret, user)
    if len(secret) >= LONG:
        yield secret.encode("utf-8", "surrogatepass").hex()


def _character(character: str) -> str:
    """Return a pattern of the forms of a character in an address, in Python, in JSON and in HTML."""
    code = ord(character)
    forms = [
        re.escape(character),
        re.escape(json.dumps(character)[1:-1]),
        rf"\\u(?i:{code:04x})",
        f"&#0{{0,4}}{code};",
        f"&#[xX]0{{0,4}}(?i:{code:x});",
    ]
    if code < 256:
        forms.append(rf"\\x(?i:{code:02x})")
    for encoding in ("utf-8", "latin-1"):
        content = character.encode(encoding, "ignore")
        forms.append("".join(f"%(?:25){{0,3}}(?i:{byte:02x})" for byte in content))
        forms.append("".join(rf"\\{{1,8}}x(?i:{byte:02x})" for byte in content if code > 127))
    forms += {
        "&": ["&amp;"],
        "<": ["&lt;"],
        ">": ["&gt;"],
        '"': ["&quot;"],
        "'": ["&apos;", "'\"'\"'"],
        " ": [r"\+"],
    }.get(character, [])
    if not character.isalnum():
        forms.append(rf"\\{{1,8}}{re.escape(character)}")  # quoted, once or more
    return f"(?:{'|'.join(dict.fromkeys(filter(None, forms)))})"


def _base64_forms(secret: str, user: str) -> Iterator[str]:
    """Yield patterns of a secret in base64: with its user, as it is sent to a server, and within any other text."""
    contents = [f"{user}:{secret}", f"{secret}:"] + ([secret] if len(secret) >= LONG else [])
    for encoding in ("utf-8", "latin-1"):
        for content in contents:
            yield from _encoded(content.encode(encoding, "replace"), 0)
        if len(secret) >= LONG:
            for before in (1, 2):
                yield from _encoded(secret.encode(encoding, "replace"), before)


def _encoded(content: bytes, before: int) -> Iterator[str]:
    """Yield patterns of bytes in base64 after `before` other bytes: of the characters that these bytes alone decide."""
    for encode in (b64encode, urlsafe_b64encode):
        whole = encode(b"\0" * before + content).decode()
        sure = whole[(0, 2, 3)[before] : (len(content) + before) * 8 // 6]
        if len(sure) >= LONG:
            yield re.sub(r"[+/]", lambda found: f"(?:{re.escape(found[0])}|%{ord(found[0]):02X})", sure) + _BASE64_ENDS
