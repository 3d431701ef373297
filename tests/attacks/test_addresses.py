"""Many addresses with a secret in each."""

from collections import Counter

import pytest
from attacks.addresses import cases, run


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_no_address_shows_its_secret_or_ends_in_a_traceback(seed: int) -> None:
    outcomes = Counter(run(case) for case in cases(seed, 120))
    faults = [outcome for outcome in outcomes if outcome.startswith("fault")]
    assert faults == []
    assert outcomes["accepted"] > 3
    assert outcomes["refused"] > 50


def test_a_seed_always_gives_the_same_cases() -> None:
    assert list(cases(7, 50)) == list(cases(7, 50)) != list(cases(8, 50))
