"""Records: one JSON file for each fact, with a digest of its content and its path."""

import json
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from raysl.results.storage.checksums import CHANGED, digest_of
from raysl.results.storage.store import Store, warn_damaged

R = TypeVar("R")

_DIGEST, _CONTENT = "digest", "content"


def write_record(store: Store, path: str, adapter: TypeAdapter[R], record: R) -> None:
    """Write a record; a list is stored under the key `content`."""
    content = json.loads(adapter.dump_json(record))
    facts = content if isinstance(content, dict) else {_CONTENT: content}
    store.write(path, json.dumps(facts | {_DIGEST: digest_of(path, content)}, indent=1).encode())


def read_record(store: Store, path: str, adapter: TypeAdapter[R]) -> R | None:
    """Return a record; None if it is missing, or damaged or of another path (logged, with its path).

    A record without a digest, of an earlier version, is not checked against one.
    """
    try:
        return adapter.validate_json(json.dumps(_checked(path, store.read(path))))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        warn_damaged(store.address(path), f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip())
    except (ValueError, RecursionError, OverflowError) as error:
        warn_damaged(store.address(path), str(error))
    return None


def _checked(path: str, text: bytes) -> Any:
    facts = json.loads(text)
    if not isinstance(facts, dict) or _DIGEST not in facts:
        return facts
    digest = facts.pop(_DIGEST)
    content = facts[_CONTENT] if facts.keys() == {_CONTENT} else facts
    if digest != digest_of(path, content):
        raise ValueError(CHANGED)
    return content
