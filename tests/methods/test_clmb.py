"""CLMB's contrast is that of its formula; its memory has the vectors of labelled places that are predicted rightly."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from gloo import spawn
from segmenters import (
    NUM_CLASSES,
    cross_entropies,
    joint_logits,
    segmenter,
    softmax,
    supervised,
    teacher_logits,
    train,
    views_of,
)
from torch import Tensor

from raysl.collectives import rank, world_size
from raysl.methods._method import Step
from raysl.methods.classmix import class_mixed
from raysl.methods.clmb import Clmb, Selectors, at_places, contrast, heaviest
from raysl.methods.mean_teacher import ramped
from raysl.results.confusion import IGNORED

DEFAULTS = {
    "power": 6.0, "ramp": 0.05, "lambda_e": 0.01, "lambda_c": 0.1, "memory": 2048, "memory_tau": 0.95, "entering": 5,
    "projector": 256, "momentum": 0.996, "head": "deeplabv3", "width": 256, "dropout": 0.5, "output_stride": 16,
    "freeze_norm": False, "head_lr": 10.0, "crop": None, "min_scale": 0.5, "max_scale": 1.5, "p_flip": 0.5,
}  # fmt: skip
SHAPES_LOSS = [
    "power", "ramp", "lambda_e", "lambda_c", "memory", "memory_tau", "entering", "projector", "momentum",
    "crop", "min_scale", "max_scale", "p_flip",
]  # fmt: skip
IMPOSSIBLE = [
    {"power": -1.0}, {"ramp": 1.1}, {"lambda_e": -0.1}, {"lambda_c": -0.1}, {"memory": 0}, {"memory_tau": 1.1},
    {"entering": 0}, {"projector": 1}, {"momentum": 1.1}, {"head": "fcn"}, {"width": 0}, {"dropout": 1.0},
    {"output_stride": 12}, {"head_lr": 0.0}, {"crop": 4}, {"min_scale": 0.0}, {"max_scale": 0.9}, {"p_flip": 1.5},
]  # fmt: skip
PASSES = 1  # through the student: labelled and mixed images at once

WIDTH = 6


def small(**given: Any) -> Any:
    return segmenter(Clmb, **{"projector": WIDTH, "memory": 8, "memory_tau": 0.0, "entering": 2, "ramp": 0.0} | given)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def by_pairs(vectors: Tensor, classes: Tensor, weights: Tensor, memory: Tensor, v: Tensor) -> float:
    """Return the contrast of a loop over pairs; v: [K, Q], weights of vectors of the memory, 0 for empty places."""
    total = 0.0
    for kind in range(len(memory)):
        own, there = torch.nonzero(classes == kind).flatten(), torch.nonzero(v[kind]).flatten()
        if not len(own) or not len(there):
            continue
        r, scaled = weights[own] / weights[own].mean(), v[kind][there] / v[kind][there].mean()
        pairs = [
            float(r[i] * scaled[j]) * (1 - cosine(vectors[own[i]].numpy(), memory[kind][there[j]].numpy()))
            for i in range(len(own))
            for j in range(len(there))
        ]
        total += sum(pairs) / len(pairs)
    return total / len(memory)


def test_the_contrast_of_a_class_by_hand() -> None:
    """Places of class 0 lie at 0 and 90 degrees, with weights 1 and 3; its memory at 60 degrees, and at 180 half so."""
    vectors, root = torch.tensor([[2.0, 0.0], [0.0, 5.0], [1.0, 1.0]]).double(), 3**0.5 / 2
    memory = torch.tensor([[[0.0, 0.0], [0.5, root], [-1.0, 0.0]], [[0.0, 0.0]] * 3]).double()
    shares = torch.tensor([[0, 2 / 3, 1 / 3], [0, 0, 0]]).double()
    classes, weights = torch.tensor([0, 0, IGNORED]), torch.tensor([1.0, 3.0, 7.0]).double()
    first = 2 / 3 * (1 - 0.5) + 1 / 3 * (1 + 1)
    second = 2 / 3 * (1 - root) + 1 / 3 * (1 - 0)
    found = contrast(vectors, classes, weights, memory, shares)
    assert found.item() == pytest.approx((first + 3 * second) / 4 / 2)
    # A class without a memory adds nothing, whatever its places are.
    assert contrast(vectors, torch.tensor([0, 0, 1]), weights, memory, shares).item() == pytest.approx(found.item())


def test_the_contrast_is_that_of_a_loop_over_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, memory = (
        torch.randn(9, 4, generator=generator).double(),
        torch.randn(4, 5, 4, generator=generator).double(),
    )
    memory /= memory.norm(dim=2, keepdim=True)
    classes = torch.tensor([0, 0, 0, 1, 1, 3, IGNORED, 3, 1])  # none of class 2
    weights, v = torch.rand(9, generator=generator).double(), torch.rand(4, 5, generator=generator).double()
    v[3], v[1, :3] = 0, 0  # nothing in class 3's memory
    shares = v / v.sum(1, keepdim=True).clamp(min=1e-9)
    expected = by_pairs(vectors, classes, weights, memory, v)
    assert expected > 0
    assert contrast(vectors, classes, weights, memory, shares).item() == pytest.approx(expected)


def test_the_network_of_a_class_weighs_its_vectors() -> None:
    torch.manual_seed(0)
    selectors, vectors = Selectors(3, 4), torch.randn(6, 4)
    classes = torch.tensor([2, 0, IGNORED, 2, 0, 0])
    found = selectors(vectors, classes)
    for weight, vector, kind in zip(found, vectors, classes.tolist(), strict=True):
        expected = 0.0 if kind == IGNORED else torch.sigmoid(selectors.networks[kind](vector)).item()
        assert weight.item() == pytest.approx(expected, abs=1e-6)


def test_the_heaviest_candidates_of_each_image_and_class_are_found() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, weights = torch.rand(3, 10, 4, generator=generator), torch.rand(3, 10, generator=generator)
    classes = torch.randint(3, (3, 10), generator=generator)
    candidates = torch.rand(3, 10, generator=generator) < 0.6
    found, there = heaviest(vectors, classes, weights, candidates, 4, 2)
    assert found.shape == (3, 4, 2, 4)
    numbers = set()
    for image in range(3):
        for kind in range(4):
            own = [p for p in range(10) if classes[image, p] == kind and candidates[image, p]]
            own = sorted(own, key=lambda place: -float(weights[image, place]))[:2]
            numbers.add(len(own))
            assert there[image, kind].tolist() == [1] * len(own) + [0] * (2 - len(own))
            assert torch.equal(found[image, kind, : len(own)], vectors[image, own])
    assert numbers == {0, 1, 2}


def test_the_class_of_a_place_is_that_of_its_middle() -> None:
    classes = torch.arange(64).view(1, 8, 8)
    assert at_places(classes, torch.Size((2, 2))).tolist() == [[[18, 22], [50, 54]]]
    assert at_places(torch.full((1, 4, 4), IGNORED), torch.Size((2, 2))).unique().tolist() == [IGNORED]


@pytest.mark.parametrize("quantile", [0.0, 0.5])
def test_only_rightly_predicted_labelled_places_enter_the_memory(quantile: float) -> None:
    method = small(entering=100, memory=300)
    views = views_of(method, 7)
    images, labels = views["labelled"].images, at_places(views["labelled"].labels, torch.Size((4, 4)))
    with torch.no_grad():
        maps, coarse = method.teacher.predict(images)
        vectors = method.teacher.others[0](maps).permute(0, 2, 3, 1).numpy()
    probabilities = softmax(coarse.numpy())
    method.memory_tau = float(np.quantile(probabilities.max(1), quantile))
    right = (probabilities.argmax(1) == labels.numpy()) & (probabilities.max(1) >= method.memory_tau)
    assert 0 < right.sum() < (labels != IGNORED).sum()
    step = Step(0, 1)
    method.after_step(step, method(views, step).outputs)
    for kind in range(NUM_CLASSES):
        expected = [tuple((v / np.linalg.norm(v)).round(9)) for v in vectors[right & (labels.numpy() == kind)]]
        number = int(method.filled[kind])
        memory = method.memory[kind][300 - number :].numpy().round(9)
        assert sorted(map(tuple, memory)) == sorted(expected)


def test_places_without_a_class_never_enter() -> None:
    method = small()
    views = views_of(method, 0)
    views["labelled"] = views["labelled"]._replace(labels=torch.full((3, 16, 16), IGNORED))
    method.after_step(Step(0, 1), method(views, Step(0, 1)).outputs)
    assert method.filled.tolist() == [0] * NUM_CLASSES
    assert not method.memory.any()


def test_the_memory_is_part_of_checkpoints_and_has_the_newest_of_a_class() -> None:
    method = small()
    train(method, 5)
    assert {"memory", "filled"} <= set(method.state_dict())
    assert method.filled.max() == 8
    before, counts = method.memory.clone(), method.filled.clone()
    views = views_of(method, 30)
    outputs = method(views, Step(0, 1)).outputs
    method.after_step(Step(0, 1), outputs)
    for kind in range(NUM_CLASSES):
        own = [outputs["vectors"][image, kind][outputs["there"][image, kind] == 1] for image in range(3)]
        expected = torch.cat([before[kind][8 - int(counts[kind]) :], *own])[-8:]
        assert torch.equal(method.memory[kind][8 - len(expected) :], expected)


def entered(size: int) -> dict[str, Any]:
    """Return the memory after a step with this rank's rows of given outputs."""
    method, generator = small(), torch.Generator().manual_seed(0)
    vectors = torch.rand(size, NUM_CLASSES, 2, WIDTH, generator=generator).double()
    there = torch.randint(2, (size, NUM_CLASSES, 2), generator=generator)
    mine = slice(rank(), None, world_size())
    method.after_step(Step(0, 1), {"vectors": vectors[mine], "there": there[mine]})
    return {"memory": method.memory, "filled": method.filled}


@pytest.mark.slow
def test_ranks_hold_the_memory_of_one_process() -> None:
    expected = entered(7)
    assert expected["filled"].min() > 2
    for found in spawn(entered, 7):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@torch.no_grad()
def memory_weights(method: Clmb) -> Tensor:
    """Return the weights of the memory's vectors, [K, 8], before they are scaled; 0 for empty places."""
    v = torch.zeros(NUM_CLASSES, 8).double()
    for kind, number in enumerate(method.get_buffer("filled").tolist()):
        vectors = method.get_buffer("memory")[kind][8 - number :]
        v[kind, 8 - number :] = method.memory_selectors.networks[kind](vectors).sigmoid().squeeze(1)
    return v


@pytest.mark.parametrize("number", [0, 2, 3])
def test_the_loss_is_that_of_numpy(number: int) -> None:
    method = small(power=2.0, ramp=0.5, lambda_e=0.3, lambda_c=0.7, momentum=0.5)
    train(method, 4)
    views, step = views_of(method, 7), Step(number, 5)
    unlabelled, labels = views["unlabelled"], views["labelled"].labels
    logits = torch.from_numpy(teacher_logits(method, unlabelled.images))
    seen, targets = class_mixed(unlabelled.images, logits, unlabelled.aug_params)
    known, student = joint_logits(method, views["labelled"].images, seen)
    weights, classes = softmax(targets.numpy()).max(1) ** 2, targets.argmax(1)
    p = softmax(student)
    expected = {
        "supervised": supervised(known, labels.numpy()),
        "pseudo": (weights * cross_entropies(student, classes.numpy())).mean(),
        "entropy": -(p * np.log(p)).sum(1).mean() / np.log(3),
    }
    alone = deepcopy(method)
    with torch.no_grad():
        maps = alone.encoder.maps(torch.cat([views["labelled"].images, seen]))
        vectors = alone.predictor(alone.projector(maps)).permute(0, 2, 3, 1)
        v = memory_weights(alone)
        for name, group, own in (("contrast", vectors[:3], labels), ("pseudo_contrast", vectors[3:], classes)):
            rows, places = group.flatten(0, 2), at_places(own, torch.Size((4, 4))).flatten()
            r = alone.selectors(rows, places)
            expected[name] = by_pairs(rows, places, r, alone.memory, v)
    losses = method(views, step)
    assert {name: value.item() for name, value in losses.terms.items()} == pytest.approx(expected)
    assert expected["contrast"] > 0 < expected["pseudo_contrast"]
    contrasts = expected["contrast"] + expected["pseudo_contrast"]
    total = expected["supervised"] + ramped(number / 5, 0.5) * expected["pseudo"] + 0.3 * expected["entropy"]
    assert losses.total.item() == pytest.approx(total + (0.7 * contrasts if number / 5 >= 0.5 else 0))
    assert losses.confident.item() == pytest.approx(weights.mean())


def test_the_weights_of_embeddings_do_not_move_them() -> None:
    method = small()
    train(method, 3)
    views = views_of(method, 7)
    alone = deepcopy(method)
    method.zero_grad()
    method(views, Step(0, 1)).terms["contrast"].backward()
    with torch.no_grad():
        logits = torch.from_numpy(teacher_logits(alone, views["unlabelled"].images))
        seen, _ = class_mixed(views["unlabelled"].images, logits, views["unlabelled"].aug_params)
    maps = alone.predictor(alone.projector(alone.encoder.maps(torch.cat([views["labelled"].images, seen]))))
    rows = maps[:3].permute(0, 2, 3, 1).flatten(0, 2)
    places = at_places(views["labelled"].labels, torch.Size((4, 4))).flatten()
    v = memory_weights(alone)
    shares = v / v.sum(1, keepdim=True).clamp(min=1e-9)
    contrast(rows, places, alone.selectors(rows, places).detach(), alone.memory, shares).backward()
    for found, expected in zip(method.predictor.parameters(), alone.predictor.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad)
    assert alone.predictor[3].weight.grad.abs().max() > 0
    selectors = [*method.selectors.parameters(), *method.memory_selectors.parameters()]
    assert sum(float(p.grad.abs().sum()) for p in selectors if p.grad is not None) > 0
