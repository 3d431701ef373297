"""The order of an epoch."""

import numpy as np
import pytest

from raysl.data.sampling.batches import Batch, epoch_batches, num_steps


def joined(batches: list[Batch], stream: str) -> np.ndarray:
    return np.concatenate([batch.rows[stream] for batch in batches])


@pytest.mark.parametrize(
    ("labelled", "unlabelled", "size"), [(10, 103, 8), (7, 64, 64), (5, 5, 2), (300, 100, 32), (3, 1, 4)]
)
def test_each_unlabelled_image_once_and_each_labelled_one_floor_or_ceil_times(
    labelled: int, unlabelled: int, size: int
) -> None:
    batches = list(epoch_batches(labelled, unlabelled, size, seed=1, epoch=0))
    assert len(batches) == num_steps(labelled, unlabelled, size) == -(-unlabelled // size)
    assert sorted(joined(batches, "unlabelled")) == list(range(unlabelled))
    times = np.bincount(joined(batches, "labelled"), minlength=labelled)
    assert set(times.tolist()) <= {unlabelled // labelled, -(-unlabelled // labelled)}
    assert times.sum() == unlabelled
    sizes = [batch.size for batch in batches]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert all(len(rows) == batch.size for batch in batches for rows in batch.rows.values())
    assert [batch.step for batch in batches] == list(range(len(batches)))


def test_one_stream_alone_is_covered() -> None:
    for batches in (list(epoch_batches(11, None, 4, 0, 0)), list(epoch_batches(None, 11, 4, 0, 0))):
        (stream,) = batches[0].rows
        assert sorted(joined(batches, stream)) == list(range(11))
        assert [batch.size for batch in batches] == [4, 4, 3]


@pytest.mark.parametrize("world_size", [2, 3, 5])
@pytest.mark.parametrize("given", [{}, {"ratio": 3}, {"steps": 4}, {"ratio": 3, "steps": 4}])
def test_ranks_share_the_batches_of_one_rank(world_size: int, given: dict[str, int]) -> None:
    whole = list(epoch_batches(6, 43, 7, seed=2, epoch=3, **given))
    shares = [list(epoch_batches(6, 43, 7, 2, 3, rank, world_size, **given)) for rank in range(world_size)]
    for step, batch in enumerate(whole):
        for stream, rows in batch.rows.items():
            together = np.full(batch.sizes[stream], -1)
            for rank, share in enumerate(shares):
                positions = share[step].positions[stream]
                assert (share[step].sizes, share[step].step) == (batch.sizes, step)
                np.testing.assert_array_equal(positions, np.arange(batch.sizes[stream])[rank::world_size])
                together[positions] = share[step].rows[stream]
            np.testing.assert_array_equal(together, rows)


def test_more_ranks_than_rows_leave_some_without() -> None:
    batches = list(epoch_batches(None, 5, 3, 0, 0, rank=2, world_size=3))
    assert [len(batch.positions["unlabelled"]) for batch in batches] == [1, 0]
    assert [len(batch.rows["unlabelled"]) for batch in batches] == [1, 0]


def test_orders_follow_the_seed_and_the_epoch_alone() -> None:
    def order(seed: int, epoch: int, labelled: int | None = 10, size: int = 8) -> list[int]:
        return joined(list(epoch_batches(labelled, 50, size, seed, epoch)), "unlabelled").tolist()

    assert order(0, 0) == order(0, 0) == order(0, 0, labelled=None) == order(0, 0, size=16)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
    both = next(epoch_batches(50, 50, 50, 0, 0)).rows
    assert both["labelled"].tolist() != both["unlabelled"].tolist()


def test_labelled_images_come_in_new_permutations() -> None:
    (batch,) = epoch_batches(20, 60, 60, 0, 0)
    first, second, third = batch.rows["labelled"].reshape(3, 20).tolist()
    assert sorted(first) == sorted(second) == sorted(third) == list(range(20))
    assert len({tuple(first), tuple(second), tuple(third)}) == 3


@pytest.mark.parametrize(("labelled", "unlabelled", "size", "ratio"), [(10, 103, 4, 7), (7, 64, 64, 2), (5, 5, 2, 3)])
def test_a_batch_has_so_many_unlabelled_images_for_each_labelled_one(
    labelled: int, unlabelled: int, size: int, ratio: int
) -> None:
    batches = list(epoch_batches(labelled, unlabelled, size, seed=1, epoch=0, ratio=ratio))
    assert len(batches) == num_steps(labelled, unlabelled, size, ratio=ratio) == -(-unlabelled // (ratio * size))
    assert sorted(joined(batches, "unlabelled")) == list(range(unlabelled))
    times = np.bincount(joined(batches, "labelled"), minlength=labelled)
    assert times.max() - times.min() <= 1
    for batch in batches:
        assert {stream: len(rows) for stream, rows in batch.rows.items()} == batch.sizes
        assert batch.sizes["labelled"] <= size
        assert batch.sizes["labelled"] == -(-batch.sizes["unlabelled"] // ratio)
    sizes = [batch.size for batch in batches]
    assert sizes == [batch.sizes["unlabelled"] for batch in batches]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("ratio", [1, 3])
@pytest.mark.parametrize("streams", [(6, 43), (6, None), (None, 43)])
def test_epochs_of_so_many_steps_go_on_where_the_last_one_ended(
    streams: tuple[int | None, int | None], ratio: int
) -> None:
    def epoch(number: int, steps: int = 5) -> list[Batch]:
        return list(epoch_batches(*streams, 4, 0, number, ratio=ratio, steps=steps))

    assert num_steps(*streams, 4, ratio=ratio, steps=5) == 5
    batches = [batch for number in range(7) for batch in epoch(number)]
    assert [batch.step for batch in batches] == [*range(5)] * 7
    unlabelled = 4 * ratio if None not in streams else 4
    for stream, count, size in zip(("labelled", "unlabelled"), streams, (4, unlabelled), strict=True):
        if count is None:
            assert stream not in batches[0].rows
            continue
        assert {len(batch.rows[stream]) for batch in batches} == {size}
        seen = joined(batches, stream)
        for start in range(0, len(seen) - count + 1, count):  # one permutation after the other
            assert sorted(seen[start : start + count]) == list(range(count))
        assert not np.array_equal(seen[:count], seen[count : 2 * count])
    # The same order in longer epochs: what is cut is one endless one.
    for stream in batches[0].rows:
        assert np.array_equal(joined(epoch(0, 35), stream), joined(batches, stream))


def test_a_ratio_is_none_of_a_stream_alone() -> None:
    assert num_steps(None, 40, 8, ratio=5) == num_steps(40, None, 8, ratio=5) == 5
