"""Many results folders of which a file was changed."""

from collections import Counter
from pathlib import Path

import pytest
from attacks.rows import cases, run, write_folder


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_changed_file_is_read_or_refused(seed: int, tmp_path: Path) -> None:
    write_folder(tmp_path / "results")
    outcomes = Counter(run(tmp_path / "results", tmp_path / "copy", case) for case in cases(seed, 40))
    assert [outcome for outcome in outcomes if outcome.startswith("fault")] == []
    assert outcomes["read"] > 5
    assert outcomes["refused"] > 0


def test_a_seed_always_gives_the_same_cases() -> None:
    assert list(cases(7, 50)) == list(cases(7, 50)) != list(cases(8, 50))
