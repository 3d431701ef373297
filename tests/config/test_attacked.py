"""Tampered experiments, overrides, table and cluster files: each is taken, or refused in one message, within bounds."""

from pathlib import Path
from types import ModuleType

import pytest
from attacks import cluster_yaml, overrides, tables, yaml_bytes, yaml_structure
from attacks.outcomes import ACCEPTED, REFUSED, bounded

ATTACKS = (yaml_structure, yaml_bytes, overrides, tables, cluster_yaml)
SEED = 1


def faults(attack: ModuleType, seed: int, count: int, folder: Path) -> list[str]:
    """Return what is wrong with how attacks end, each with its number."""
    found = []
    ended = set()
    for number, case in enumerate(attack.cases(seed, count)):
        with bounded():
            result = attack.run(case, folder)
        ended.add(result)
        if result not in (ACCEPTED, REFUSED):
            found.append(f"{attack.__name__} {seed}/{number}: {result}")
    assert {ACCEPTED, REFUSED} <= ended, "attacks that all end alike test little"
    return found


@pytest.mark.slow
@pytest.mark.alike
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_many_attacks_end_well(attack: ModuleType, tmp_path: Path) -> None:
    assert faults(attack, SEED, 800, tmp_path) == []


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_attacks_are_the_same_each_time(attack: ModuleType) -> None:
    assert list(attack.cases(3, 20)) == list(attack.cases(3, 20))
    assert list(attack.cases(3, 20)) != list(attack.cases(4, 20))
