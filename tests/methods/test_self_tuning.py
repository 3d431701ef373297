"""Self-Tuning's loss is that of its formula; its queues hold the last keys of each class, and only those count."""

import math
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from gloo import spawn
from learners import batch, learner, supervised
from torch import Tensor

from raysl.collectives import rank, world_size
from raysl.methods._method import Losses, Step, View
from raysl.methods.self_tuning import SelfTuning, enqueued, group_contrast
from raysl.training.optimizers import build_optimizer
from raysl.training.settings import SGD

DEFAULTS = {
    "temperature": 0.07, "momentum": 0.999, "queue": 32, "projector": 1024, "new_layers_lr": 10.0, "p_flip": 0.5,
}  # fmt: skip
SHAPES_LOSS = ["temperature", "momentum", "queue", "projector", "p_flip"]
IMPOSSIBLE = [
    {"temperature": 0.0}, {"momentum": 1.1}, {"queue": 0}, {"projector": 1}, {"new_layers_lr": 0.0}, {"p_flip": 1.5},
]  # fmt: skip
PASSES = 1  # through each network: labelled and unlabelled images at once
FALLS_FROM = 7  # steps: the queues are full then; with an empty one there is nothing to tell a key from


def views_of(seed: int) -> dict[str, View]:
    first, second = batch(seed), batch(seed + 100)
    return {
        "labelled_first": first["labelled"],
        "labelled_second": second["labelled"],
        "first": first["weak"],
        "second": second["weak"],
    }


def train(method: SelfTuning, steps: int) -> list[dict[str, Tensor]]:
    """Take steps; return the outputs of each."""
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.1)
    taken = []
    for number in range(steps):
        optimizer.zero_grad()
        losses: Losses = method(views_of(number), Step(number, steps))
        losses.total.backward()
        optimizer.step()
        taken.append({name: value.detach() for name, value in losses.outputs.items()})
        method.after_step(Step(number, steps), taken[-1])
    return taken


def axes(*angles: float) -> Tensor:
    """Return unit vectors of the plane by their angles in degrees."""
    radians = torch.tensor(angles).double().deg2rad()
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def test_the_loss_of_two_classes_by_hand() -> None:
    # The query lies at 0 degrees, its key at 60. Class 0 has one key, at 90; class 1 has two, at 180 and 0.
    queues = torch.stack([axes(0, 90), axes(180, 0)])
    loss = group_contrast(2 * axes(0), 3 * axes(60), torch.tensor([0]), queues, torch.tensor([1, 2]), 0.5)
    everything = math.exp(1) + math.exp(0) + math.exp(-2) + math.exp(2)  # cosines 0.5, 0, -1 and 1, over 0.5
    expected = -(math.log(math.exp(1) / everything) + math.log(math.exp(0) / everything)) / 2
    assert loss.item() == pytest.approx(expected)
    other = group_contrast(axes(0), axes(60), torch.tensor([1]), queues, torch.tensor([1, 2]), 0.5)
    assert other.item() == pytest.approx(math.log(everything) - (1 - 2 + 2) / 3)


def test_empty_queues_leave_the_own_key_alone() -> None:
    queries = axes(0, 10).requires_grad_()
    loss = group_contrast(queries, axes(60, 90), torch.tensor([0, 1]), torch.randn(2, 4, 2), torch.zeros(2).long(), 0.1)
    loss.backward()
    assert loss.item() == 0
    assert queries.grad is not None
    assert torch.equal(queries.grad, torch.zeros(2, 2).double())
    keys = torch.rand(3, 4, 2)
    junk = keys.clone()
    junk[:, :2] = 100.0  # what does not count changes nothing
    given = (axes(0, 10), axes(60, 90), torch.tensor([0, 1]))
    found = [group_contrast(*given, each, torch.tensor([2, 1, 2]), 0.1) for each in (keys, junk)]
    assert torch.equal(*found)


@pytest.mark.parametrize("sizes", [(3, 0, 1), (9, 2, 4), (0, 0, 0)])
def test_queues_keep_the_last_keys_of_each_class_in_order(sizes: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    queues = torch.rand(3, 4, 2, generator=generator)
    classes = torch.cat([torch.full((size,), number) for number, size in enumerate(sizes)]).long()
    classes = classes[torch.randperm(len(classes), generator=generator)]
    keys = torch.rand(len(classes), 2, generator=generator)
    found, came = enqueued(queues, keys, classes)
    assert came.tolist() == list(sizes)
    for number in range(3):
        expected = torch.cat([queues[number], keys[classes == number]])[-4:]
        assert torch.equal(found[number], expected)


def test_a_step_enters_labelled_before_unlabelled_keys_and_counts_them() -> None:
    method = learner(SelfTuning, projector=6, queue=3)
    expected: list[list[Tensor]] = [[], [], []]
    for outputs in train(method, 3):
        classes = torch.cat([outputs["labelled_classes"], outputs["classes"]]).tolist()
        for kind, key in zip(classes, torch.cat([outputs["labelled_keys"], outputs["keys"]]), strict=True):
            expected[kind].append(key)
    for number, keys in enumerate(expected):
        last = torch.stack(keys[-3:])
        assert torch.equal(method.queues[number][-len(last) :], last)
        assert method.filled[number] == min(len(keys), 3)
        torch.testing.assert_close(last.norm(dim=1), torch.ones(len(last)).double())


def test_the_loss_is_of_the_queues_before_the_step() -> None:
    method = learner(SelfTuning, projector=6, queue=4, temperature=0.3)
    train(method, 2)
    alone, views = deepcopy(method), views_of(9)
    losses = method(views, Step(0, 1))
    features = alone.encoder(torch.cat([views["labelled_first"].images, views["first"].images]))
    keys = F.normalize(
        alone.key_projector(alone.key_encoder(torch.cat([views["labelled_second"].images, views["second"].images])))
    )
    logits, queries = alone.classifier(features), F.normalize(alone.projector(features))
    classes = [0, 1, 2, 0, *logits[4:].argmax(1).tolist()]
    rows = []
    for query, key, own in zip(queries, keys, classes, strict=True):
        counted = [(kind, each) for kind in range(3) for each in method.queues[kind][4 - int(method.filled[kind]) :]]
        similar = [query @ key, *(query @ each for _, each in counted)]
        total = torch.stack([(each / 0.3).exp() for each in similar]).sum()
        positive = [similar[0], *(value for (kind, _), value in zip(counted, similar[1:], strict=True) if kind == own)]
        rows.append(-sum((value / 0.3 - total.log()).item() for value in positive) / len(positive))
    expected = {
        "supervised": supervised(logits[:4].detach().numpy()),
        "contrast": sum(rows[:4]) / 4,
        "pseudo_contrast": sum(rows[4:]) / 8,
    }
    assert {name: value.item() for name, value in losses.terms.items()} == pytest.approx(expected)
    assert losses.total.item() == pytest.approx(sum(expected.values()))


def test_pseudo_labels_and_keys_have_no_gradient() -> None:
    method = learner(SelfTuning, projector=6, queue=4)
    train(method, 2)
    method.zero_grad()
    views = views_of(9)
    images = {name: view.images.requires_grad_() for name, view in views.items()}
    method(views, Step(0, 1)).terms["pseudo_contrast"].backward()
    assert method.classifier.weight.grad is None
    assert method.projector.weight.grad.abs().max() > 0
    assert {name for name, seen in images.items() if seen.grad is not None} == {"labelled_first", "first"}
    assert all(p.grad is None and not p.requires_grad for p in method.key_encoder.parameters())


def test_the_key_encoder_follows_and_the_trained_weights_are_evaluated() -> None:
    method = learner(SelfTuning, projector=6, momentum=0.9)
    parts = [(method.encoder, method.key_encoder), (method.projector, method.key_projector)]
    before = [{key: value.clone() for key, value in average.named_parameters()} for _, average in parts]
    train(method, 1)
    for (online, average), old in zip(parts, before, strict=True):
        expected = {key: 0.9 * old[key] + 0.1 * value.detach() for key, value in online.named_parameters()}
        torch.testing.assert_close(dict(average.named_parameters()), expected)
    assert method.evaluation() == (method.encoder, method.classifier)


def test_new_layers_learn_faster_and_vectors_do_not_decay() -> None:
    method = learner(SelfTuning, projector=6, new_layers_lr=5.0)
    settings = SGD(name="sgd", lr=0.1, weight_decay=0.01)
    groups = build_optimizer(settings, method, method.parameter_groups()).param_groups
    found = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    for part, lr in ((method.encoder, 0.1), (method.classifier, 0.5), (method.projector, 0.5)):
        for parameter in part.parameters():
            assert found[id(parameter)] == pytest.approx((lr, 0.01 if parameter.ndim > 1 else 0))
    assert len(found) == len([p for p in method.parameters() if p.requires_grad])


def entered(sizes: tuple[int, int]) -> dict[str, Any]:
    """Return the queues after a step with this rank's rows of given outputs."""
    method, generator = learner(SelfTuning, projector=6, queue=3), torch.Generator().manual_seed(0)
    outputs = {}
    for name, size in zip(("labelled_", ""), sizes, strict=True):
        keys, classes = torch.rand(size, 6, generator=generator), torch.randint(3, (size,), generator=generator)
        outputs |= {f"{name}keys": keys[rank() :: world_size()], f"{name}classes": classes[rank() :: world_size()]}
    method.after_step(Step(0, 1), outputs)
    return {"queues": method.queues, "filled": method.filled}


@pytest.mark.slow
def test_ranks_hold_the_queues_of_one_process() -> None:
    expected = entered((5, 9))
    for found in spawn(entered, (5, 9)):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
