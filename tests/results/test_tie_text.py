"""A stage's tie set in words."""

from typing import Any

import pytest

from raysl.results.tie_text import tie_text

NAMES = {f"c{place}": f"lr={place}" for place in range(12)}


def config(place: int, tied: bool | None, *, eligible: bool = True, num_seeds: int = 5) -> dict[str, Any]:
    return {"config_id": f"c{place}", "eligible": eligible, "in_tie_set": tied, "num_seeds": num_seeds}


def test_the_tie_set_is_named_with_how_it_was_found() -> None:
    text = tie_text([config(0, True), config(1, False), config(2, True), config(3, False, eligible=False)], NAMES)
    assert text == (
        "tie set: cannot be told from the best at 5 %: lr=0, lr=2; 2 of 3 configs "
        "(paired t tests over 5 seeds, Holm's correction)"
    )


def test_a_config_that_is_told_from_all_others_is_named_alone() -> None:
    text = tie_text([config(0, False), config(1, True, num_seeds=4), config(2, False)], NAMES)
    assert text.startswith("tie set: lr=1 alone; all 2 others can be told from it at 5 % ")
    assert "4 to 5 seeds" in text
    assert "lr=0 alone; the other one can be told" in tie_text([config(0, True), config(1, False)], NAMES)


def test_many_ties_are_counted_and_several_values_kept_together() -> None:
    text = tie_text([config(place, True) for place in range(8)], NAMES | {"c0": "lr=0, w=1"})
    assert ": (lr=0, w=1), lr=1, lr=2, lr=3, lr=4, 3 more; 8 of 8 configs (" in text


@pytest.mark.parametrize("tied", [(True,), (None,)])
def test_one_config_ties_with_nothing(tied: tuple[bool | None]) -> None:
    assert tie_text([config(0, *tied), config(1, None, eligible=False)], NAMES) == ""


def test_one_seed_is_said_and_a_table_of_an_earlier_version_says_nothing() -> None:
    assert tie_text([config(place, None, num_seeds=1) for place in range(2)], NAMES) == (
        "tie set: unknown, for one seed tells no two configs apart"
    )
    assert tie_text([config(place, None) for place in range(2)], NAMES) == ""
