"""The lease of a driver on a results folder, which each file's own `store` is."""

from collections.abc import Iterator

import pytest

from raysl.launch.coordination.leases import Leases
from raysl.results.storage.store import Store


@pytest.fixture
def own(store: Store) -> Iterator[Leases]:
    with Leases(store) as leases:
        yield leases
