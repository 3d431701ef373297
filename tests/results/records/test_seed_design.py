"""The numbers of cells, and the streams of a trial of typed seeds."""

import itertools

import pytest

from raysl.results.records.seed_design import SeedDesign, cells, paired, unpaired


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_cells_of_fewer_levels_have_the_first_numbers_and_each_one_alone(length: int) -> None:
    for levels in (1, 2, 4):
        every = list(itertools.product(range(levels), repeat=length))
        assert sorted(map(paired, every)) == list(range(levels**length))
        assert [unpaired(paired(cell), length) for cell in every] == every


def test_numbers_of_pairs_are_those_of_rosenberg_and_strong() -> None:
    for x, y in cells((7, 7)):
        most = max(x, y)
        assert paired((x, y)) == most**2 + most + x - y


@pytest.mark.parametrize("cell", [(999, 0), (0, 999), (999, 998, 999), (83, 83, 83, 83, 83), (0, 0, 0, 0, 84)])
def test_large_numbers_are_exact(cell: tuple[int, ...]) -> None:
    assert unpaired(paired(cell), len(cell)) == cell


@pytest.mark.parametrize(
    "design", [SeedDesign(("labels", "init"), "crossed"), SeedDesign(("split", "order"), "nested")]
)
def test_a_design_is_read_back_from_its_text(design: SeedDesign) -> None:
    assert SeedDesign.parse(str(design)) == design


def test_crossed_streams_have_their_levels_and_nested_ones_differ_within_each_earlier_level() -> None:
    numbers = list(map(paired, cells((3, 2, 2))))
    crossed = [SeedDesign(("labels", "init", "order"), "crossed").streams(number) for number in numbers]
    assert [tuple(streams.values()) for streams in crossed] == list(cells((3, 2, 2)))
    nested = [SeedDesign(("labels", "init", "order"), "nested").streams(number) for number in numbers]
    assert [streams["labels"] for streams in nested] == [0] * 4 + [1] * 4 + [2] * 4
    assert len({streams["init"] for streams in nested}) == 6
    assert all(nested[place]["init"] == nested[place + 1]["init"] for place in range(0, 12, 2))
    assert [streams["order"] for streams in nested] == numbers
