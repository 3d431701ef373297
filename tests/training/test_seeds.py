"""What a trial's seed decides: each of its streams one thing, alike in all methods, and nothing alike in two seeds."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from raysl import methods
from raysl.results.records.rows import TrialRow
from raysl.results.records.seed_design import STREAMS
from raysl.results.storage.store import Store
from raysl.training import classification
from raysl.training.building import build_method
from raysl.training.input_pipeline import Feed
from raysl.training.loop import Loop
from raysl.training.process import Execution, prepare_process
from raysl.training.scoring import score_trial
from raysl.training.spec import TrialSpec

MakeSpec = Callable[..., TrialSpec]
Decided = dict[str, list[torch.Tensor]]
TRAINED = [n for n in methods.names() if methods.describe(n).trains and methods.describe(n).level == "image"]


def decided(spec: TrialSpec, store: Store) -> Decided:
    """Return what each stream decides of a trial of rotations: images, weights, rows, turns and the seed of dropout."""
    loop = Loop(spec, store, Execution())
    weights = [value.clone() for value in loop.method.parameters() if value.ndim > 1]
    batches = [batch for epoch in (0, 1) for batch in loop.feed.batches(epoch, 0, 1)]
    turns = [loop.feed.make_views(batch, 0)["rotated"].aug_params for batch in batches[:2]]
    loop.train_epoch(loop.wrapped())
    return {
        "split": [torch.as_tensor(loop.feed.unlabelled)],
        "labels": [torch.as_tensor(loop.feed.labelled)],
        "init": weights,
        "order": [torch.as_tensor(rows) for batch in batches for rows in batch.rows.values()],
        "augmentation": [*(turn for turn in turns if turn is not None), torch.tensor(torch.initial_seed() >> 1)],
    }


def different(one: Decided, other: Decided) -> set[str]:
    """Return the streams of which everything differs; those of which only a part does are no stream's doing."""
    changed = {name: {not torch.equal(*pair) for pair in zip(one[name], other[name], strict=True)} for name in one}
    assert all(len(found) == 1 for found in changed.values()), changed
    return {name for name, found in changed.items() if found == {True}}


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_decides_what_it_is_named_for_and_nothing_else(make_spec: MakeSpec, store: Store, stream: str) -> None:
    spec = make_spec()
    moved = {stream, "labels"} if stream == "split" else {stream}
    other = spec.model_copy(update={"streams": {stream: 99}})
    assert different(decided(spec, store), decided(other, store)) == moved


def test_the_labelled_images_follow_the_split_unless_they_have_a_seed(make_spec: MakeSpec, store: Store) -> None:
    fixed = [make_spec(streams={"split": split, "labels": 1}) for split in (0, 99)]
    assert different(*(decided(spec, store) for spec in fixed)) == {"split"}
    seeds = [make_spec(seed=1), make_spec(streams={"labels": 1}), make_spec(streams={"split": 1})]
    drawn = [decided(spec, store)["labels"][0].tolist() for spec in seeds]
    assert drawn[0] == drawn[1] == drawn[2]


def test_two_seeds_share_nothing_but_the_streams_that_are_fixed(make_spec: MakeSpec, store: Store) -> None:
    found = [decided(make_spec(seed=seed), store) for seed in (0, 1)]
    assert different(*found) == set(STREAMS)
    fixed = [make_spec(seed=seed, streams=dict.fromkeys(STREAMS, 5)) for seed in (0, 1)]
    assert different(*(decided(spec, store) for spec in fixed)) == set()


@pytest.mark.parametrize("name", TRAINED)
def test_methods_of_one_seed_have_the_same_images_and_encoder_to_begin_with(
    make_spec: MakeSpec, store: Store, name: str
) -> None:
    def begun(method: dict[str, Any]) -> tuple[Feed, dict[str, torch.Tensor]]:
        spec = make_spec(seed=1, method=method)
        device = prepare_process(spec, Execution())
        built = build_method(spec, 1, store)
        return Feed(spec, built.views(), device), built.encoder.state_dict()

    nested = {key: {"name": "rotation"} for key in methods.describe(name).nested}
    feed, encoder = begun({"name": name, **nested})
    reference, expected = begun({"name": "semi", "pretext": {"name": "rotation"}})
    torch.testing.assert_close(encoder, expected, rtol=0, atol=0)
    assert feed.labelled.tolist() == reference.labelled.tolist()
    assert feed.unlabelled.tolist() == reference.unlabelled.tolist()
    for epoch in (0, 1) if "unlabelled" in feed.streams else ():
        for batch, other in zip(feed.batches(epoch, 0, 1), reference.batches(epoch, 0, 1), strict=True):
            assert batch.rows["unlabelled"].tolist() == other.rows["unlabelled"].tolist()


def test_probes_draw_under_the_seed_of_the_labelled_images(
    make_spec: MakeSpec, store: Store, train: Callable[..., TrialRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def recorded(probe: Callable[..., Any]) -> Callable[..., Any]:
        def probed(*arguments: Any) -> Any:
            seeds.append(arguments[-1])
            return probe(*arguments)

        return probed

    monkeypatch.setattr(classification, "training_accuracy", recorded(classification.training_accuracy))
    monkeypatch.setattr(classification, "predictions", recorded(classification.predictions))
    spec = make_spec("stages.semi.epochs=1", seed=1, streams={"split": 77})
    train(spec, store)
    score_trial(spec, store, Execution())
    assert seeds == [77, 77]
