"""CutMix's boxes have half the area; its loss is that of its formula, with one share of sure pixels for the batch."""

import numpy as np
import pytest
import torch
from segmenters import joint_logits, segmenter, softmax, supervised, teacher_logits, train, views_of

from raysl.data.augment.geometry import cropped_images
from raysl.data.augment.views import Draw
from raysl.methods._method import Step
from raysl.methods.cutmix import Cutmix, boxes, consistency_loss

DEFAULTS = {
    "tau": 0.97, "lambda_u": 1.0, "momentum": 0.99, "head": "deeplabv3", "width": 256, "dropout": 0.5,
    "output_stride": 16, "freeze_norm": False, "head_lr": 10.0, "crop": None, "min_scale": 0.5, "max_scale": 1.5,
    "p_flip": 0.5,
}  # fmt: skip
SHAPES_LOSS = ["tau", "lambda_u", "momentum", "crop", "min_scale", "max_scale", "p_flip"]
IMPOSSIBLE = [
    {"tau": 1.1}, {"lambda_u": 0.0}, {"momentum": 1.1}, {"head": "fcn"}, {"width": 0}, {"dropout": 1.0},
    {"output_stride": 12}, {"head_lr": 0.0}, {"crop": 4}, {"min_scale": 0.0}, {"max_scale": 0.9}, {"p_flip": 1.5},
]  # fmt: skip
PASSES = 1  # through the student: labelled and mixed images at once


def draw(size: int, positions: np.ndarray | None = None) -> Draw:
    return Draw(0, 0, 0, "view", np.arange(size) if positions is None else positions, size)


def test_boxes_have_half_the_area_at_random_places_and_of_random_shapes() -> None:
    found = boxes(draw(400), 96, 64)
    assert found.shape == (400, 96, 64)
    areas = found.float().mean(dim=(1, 2))
    assert (areas - 0.5).abs().max() < 0.02  # edges are whole pixels
    rows, columns = found.any(2), found.any(1)
    assert torch.equal(found, rows.unsqueeze(2) & columns.unsqueeze(1))  # a rectangle
    for lines in (rows, columns):
        starts = (lines.int().diff(dim=1, prepend=torch.zeros(len(lines), 1)) == 1).sum(1)
        assert starts.tolist() == [1] * 400  # in one piece
        lengths = lines.sum(1) / lines.shape[1]
        assert lengths.min() < 0.52
        assert lengths.max() > 0.98
    heights = rows.sum(1)[rows.sum(1) < 90]
    assert rows[:, 0].float().mean() < 0.2 < (heights < 70).float().mean()


def test_a_box_is_its_image_s_own_on_any_number_of_ranks() -> None:
    whole = boxes(draw(7), 16, 16)
    own = boxes(draw(7, np.arange(1, 7, 2)), 16, 16)
    assert torch.equal(own, whole[1::2])
    assert not torch.equal(whole[0], whole[1])


def test_views_are_those_of_the_crops_alone() -> None:
    images = torch.rand(5, 3, 16, 16)
    seen, mask = segmenter(Cutmix).views()["unlabelled"].make(images, draw(5))
    expected, _ = cropped_images(images, draw(5), crop=16, scale=(0.5, 1.5), p_flip=0.5)
    assert torch.equal(seen, expected)
    assert mask is not None
    assert mask.dtype == torch.bool


def test_the_loss_of_two_images_by_hand() -> None:
    student = torch.tensor([0.5, 0.9]).view(2, 1, 1).expand(2, 4, 4)
    teacher = student.clone()
    teacher[0, 0, :2] = 0.7
    logits = [torch.stack([first, 1 - first], dim=1).log() for first in (student, teacher)]
    # Two pixels of 32 differ by 0.2, in both classes.
    assert consistency_loss(*logits).item() == pytest.approx(2 * 2 * 0.04 / 32, rel=1e-5)


@pytest.mark.parametrize("quantile", [0.25, 0.75])
def test_the_loss_is_that_of_numpy(quantile: float) -> None:
    method = segmenter(Cutmix, lambda_u=3.0, momentum=0.5)
    train(method, 3)
    views = views_of(method, 7)
    images, box = views["unlabelled"].images, views["unlabelled"].aug_params.numpy()
    before = teacher_logits(method, images)
    targets, seen = before.copy(), images.numpy().copy()
    for number in range(4):
        other = (number + 1) % 4
        targets[number][:, box[number]] = before[other][:, box[number]]
        seen[number][:, box[number]] = images[other].numpy()[:, box[number]]
    known, student = joint_logits(method, views["labelled"].images, torch.from_numpy(seen))
    confidences = softmax(targets).max(1)
    method.tau = float(np.quantile(confidences, quantile))
    share = (confidences >= method.tau).mean()
    distances = ((softmax(student) - softmax(targets)) ** 2).sum(1)
    assert share * distances.mean() != pytest.approx((distances * (confidences >= method.tau)).mean(), rel=0.02)
    losses = method(views, Step(0, 1))
    expected = supervised(known, views["labelled"].labels.numpy()), share * distances.mean()
    assert [losses.terms[name].item() for name in ("supervised", "consistency")] == pytest.approx(expected)
    assert losses.total.item() == pytest.approx(expected[0] + 3 * expected[1])
    assert losses.confident.item() == pytest.approx(share)
    assert not losses.confident.requires_grad
