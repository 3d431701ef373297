"""ClassMix pastes half of the classes of an image; its loss is that of its formula, with each image's sure share."""

import math

import numpy as np
import pytest
import torch
from segmenters import cross_entropies, joint_logits, segmenter, softmax, supervised, teacher_logits, train, views_of

from raysl.data.augment.geometry import cropped_images
from raysl.data.augment.views import Draw
from raysl.methods._method import Step
from raysl.methods.classmix import Classmix, class_mixed, pasted, pseudo_label_loss

DEFAULTS = {
    "tau": 0.968, "lambda_u": 1.0, "momentum": 0.99, "head": "deeplabv3", "width": 256, "dropout": 0.5,
    "output_stride": 16, "freeze_norm": False, "head_lr": 10.0, "crop": None, "min_scale": 0.5, "max_scale": 1.5,
    "p_flip": 0.5,
}  # fmt: skip
SHAPES_LOSS = ["tau", "lambda_u", "momentum", "crop", "min_scale", "max_scale", "p_flip"]
IMPOSSIBLE = [
    {"tau": 1.1}, {"lambda_u": 0.0}, {"momentum": 1.1}, {"head": "fcn"}, {"width": 0}, {"dropout": 1.0},
    {"output_stride": 12}, {"head_lr": 0.0}, {"crop": 4}, {"min_scale": 0.0}, {"max_scale": 0.9}, {"p_flip": 1.5},
]  # fmt: skip
PASSES = 1  # through the student: labelled and mixed images at once


def test_half_of_the_classes_that_an_image_has_is_pasted() -> None:
    """Two images of 4 x 4 pixels: classes 1, 2 and 4 of five, and class 3 alone."""
    classes = torch.tensor([[[1, 1, 2, 2]] * 2 + [[4, 4, 4, 1]] * 2, [[3] * 4] * 4])
    # Absent classes 0 and 3 have the least numbers; of the others, 4 and 1.
    priorities = torch.tensor([[0.0, 0.5, 0.9, 0.1, 0.3], [0.1, 0.2, 0.3, 0.9, 0.4]])
    found = pasted(classes, priorities)
    assert found[0].tolist() == [[True, True, False, False]] * 2 + [[True] * 4] * 2
    assert found[1].all()  # half of one class, rounded up


def test_what_is_pasted_is_that_of_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    numbers = set()
    for size in range(1, 7):
        classes = torch.randint(size, (5, 4, 4), generator=generator)
        priorities = torch.rand(5, 7, generator=generator)
        for image, first, mask in zip(classes, priorities, pasted(classes, priorities), strict=True):
            there = sorted(set(image.flatten().tolist()), key=lambda kind: float(first[kind]))
            chosen = there[: math.ceil(len(there) / 2)]
            numbers.add((len(there), len(chosen)))
            assert torch.equal(mask, torch.isin(image, torch.tensor(chosen)))
    assert {(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)} <= numbers


def test_classes_are_drawn_for_each_image_and_are_the_same_on_any_number_of_ranks() -> None:
    images = torch.rand(7, 3, 16, 16)
    make = segmenter(Classmix).views()["unlabelled"].make
    draws = [Draw(0, 0, 0, "view", positions, 7) for positions in (np.arange(7), np.arange(1, 7, 2), np.arange(7))]
    seen, whole = make(images, draws[0])
    own, part = make(images[1::2], draws[1])
    assert whole is not None
    assert part is not None
    assert whole.shape == (7, 3)
    assert torch.equal(part, whole[1::2])
    assert torch.equal(own, seen[1::2])
    assert len({tuple(row) for row in whole.argsort(1).tolist()}) > 2
    assert torch.equal(seen, cropped_images(images, draws[2], crop=16, scale=(0.5, 1.5), p_flip=0.5)[0])


def test_classes_of_one_image_are_pasted_on_the_next_with_their_predictions() -> None:
    """Of two images of 4 x 4, the first is of classes 0 and 1, the second of 2; pixels tell images by their sign."""
    classes = torch.tensor([[[0, 0, 1, 1]] * 4, [[2] * 4] * 4])
    coarse = 5 * torch.nn.functional.one_hot(classes, 3).permute(0, 3, 1, 2).float()
    images = torch.stack([torch.ones(1, 4, 4), -torch.ones(1, 4, 4)])
    found, logits = class_mixed(images, coarse, torch.tensor([[0.9, 0.1, 0.0], [0.1, 0.2, 0.3]]))
    assert found[0, 0].tolist() == [[-1, -1, 1, 1]] * 4
    assert logits[0].argmax(0).tolist() == [[2, 2, 1, 1]] * 4
    assert torch.equal(found[1], images[1])
    assert torch.equal(logits[1], coarse[1])


def test_the_loss_of_two_images_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    student, targets = (torch.randn(2, 3, 4, 4, generator=generator).double() for _ in range(2))
    shares = torch.tensor([0.25, 1.0]).double()
    total = 0.0
    for number, share in enumerate((0.25, 1.0)):
        for row in range(4):
            for column in range(4):
                logits = student[number, :, row, column].numpy()
                kind = targets[number, :, row, column].numpy().argmax()
                total += share * (np.log(np.exp(logits).sum()) - logits[kind]) / 16 / 2
    assert pseudo_label_loss(student, targets, shares).item() == pytest.approx(total)
    each = shares.view(2, 1, 1).expand(2, 4, 4)
    assert pseudo_label_loss(student, targets, each).item() == pytest.approx(total)


def test_the_loss_is_that_of_numpy() -> None:
    method = segmenter(Classmix, lambda_u=3.0, momentum=0.5)
    train(method, 3)
    views = views_of(method, 7)
    images, priorities = views["unlabelled"].images.numpy(), views["unlabelled"].aug_params.numpy()
    before = teacher_logits(method, views["unlabelled"].images)
    targets, seen = before.copy(), images.copy()
    for number in range(4):
        kinds = before[number].argmax(0)
        there = sorted(set(kinds.flatten().tolist()), key=lambda kind: priorities[number, kind])
        others = ~np.isin(kinds, there[: math.ceil(len(there) / 2)])
        targets[number][:, others] = before[(number + 1) % 4][:, others]
        seen[number][:, others] = images[(number + 1) % 4][:, others]
    assert (seen != images).any()
    known, student = joint_logits(method, views["labelled"].images, torch.from_numpy(seen))
    confidences = softmax(targets).max(1)
    method.tau = float(np.quantile(confidences, 0.5))
    shares = (confidences >= method.tau).mean((1, 2))
    each = cross_entropies(student, targets.argmax(1)).mean((1, 2))
    assert (shares * each).mean() != pytest.approx(shares.mean() * each.mean(), rel=0.001)
    losses = method(views, Step(0, 1))
    expected = supervised(known, views["labelled"].labels.numpy()), (shares * each).mean()
    assert [losses.terms[name].item() for name in ("supervised", "pseudo")] == pytest.approx(expected)
    assert losses.total.item() == pytest.approx(expected[0] + 3 * expected[1])
    assert losses.confident.item() == pytest.approx(shares.mean())
