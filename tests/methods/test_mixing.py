"""Images and predictions are mixed by one mask; the teacher is an average without gradient, and is evaluated."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from segmenters import segmenter, train, views_of
from torch import Tensor

from raysl.methods._method import Step
from raysl.methods._mixing import kept_share, mixed, partners, pixel_mean, sure_shares
from raysl.methods.classmix import Classmix
from raysl.methods.clmb import Clmb
from raysl.methods.cutmix import Cutmix

KINDS = {"cutmix": Cutmix, "classmix": Classmix, "clmb": Clmb}
SMALL: dict[str, dict[str, Any]] = {"clmb": {"projector": 6, "memory": 8}}
METHODS = pytest.mark.parametrize("name", KINDS)


def small(name: str, **given: Any) -> Any:
    return segmenter(KINDS[name], **SMALL.get(name, {}), **given)


def test_one_mask_mixes_images_and_predictions() -> None:
    """Of two images of 4 x 4 pixels, 10 and 20, whose predictions are of their own values, in two classes."""
    images = torch.tensor([10.0, 20.0]).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    coarse = torch.cat([images, -images], dim=1)
    kept = torch.zeros(2, 4, 4, dtype=torch.bool)
    kept[0, :2], kept[1, :, 3] = True, True
    found, logits = mixed(kept, images, coarse)
    assert found[0, 0].tolist() == [[10.0] * 4] * 2 + [[20.0] * 4] * 2
    assert found[1, 0].tolist() == [[10.0, 10.0, 10.0, 20.0]] * 4
    assert torch.equal(logits, torch.cat([found, -found], dim=1))


def test_predictions_are_enlarged_before_they_are_mixed() -> None:
    coarse = torch.tensor([[[[0.0, 4.0]]], [[[8.0, 8.0]]]])  # [2, 1, 1, 2]
    kept = torch.tensor([[[True, True, True, False]], [[False] * 4]])
    _, logits = mixed(kept, torch.zeros(2, 3, 1, 4), coarse)
    assert logits[0, 0, 0].tolist() == [0.0, 1.0, 3.0, 8.0]
    assert logits[1, 0, 0].tolist() == [0.0, 1.0, 3.0, 4.0]


def test_the_first_image_is_the_last_one_s_partner() -> None:
    assert partners(torch.arange(5)).tolist() == [1, 2, 3, 4, 0]


def test_the_share_of_sure_pixels_is_each_image_s() -> None:
    highest = torch.tensor([[[0.97, 0.99], [0.5, 0.96]], [[0.98, 0.97], [1.0, 0.97]]])
    logits = torch.stack([highest, 1 - highest], dim=1).log().clamp(min=-100)
    assert sure_shares(logits, 0.969).tolist() == [0.5, 1.0]
    assert pixel_mean(highest).item() == pytest.approx((0.97 + 0.99 + 0.5 + 0.96 + 0.98 + 2 * 0.97 + 1.0) / 8)


def test_the_first_steps_keep_less_of_a_teacher() -> None:
    assert [kept_share(0.8, number, 1) for number in (0, 1, 3, 4, 9)] == pytest.approx([0, 0.5, 0.75, 0.8, 0.8])
    assert [kept_share(0.95, number, 10) for number in (0, 1, 2)] == pytest.approx([0, 10 / 11, 0.95])


@pytest.mark.parametrize(
    ("name", "kept"),
    [("cutmix", [0.7] * 4), ("classmix", [0, 0.5, 2 / 3, 0.7]), ("clmb", [0, 0.7, 0.7, 0.7])],
)
def test_the_evaluated_networks_are_the_average_of_the_closed_form(name: str, kept: list[float]) -> None:
    method = small(name, momentum=0.7)
    outputs = method(views_of(method, 0), Step(0, 4)).outputs
    parts = ("encoder", "head")

    def state(networks: Any) -> dict[str, Tensor]:
        both = {f"{part}.{key}": value for part in parts for key, value in getattr(networks, part).state_dict().items()}
        return {key: value.clone() for key, value in both.items() if value.is_floating_point()}

    expected = state(method.teacher)
    for number, share in enumerate(kept):
        with torch.no_grad():
            for value in [v for part in parts for v in getattr(method, part).state_dict().values()]:
                value.add_(number + 1)  # parameters and running statistics
        method.after_step(Step(number, 4), {key: value.detach() for key, value in outputs.items()})
        expected = {key: share * expected[key] + (1 - share) * value for key, value in state(method).items()}
    torch.testing.assert_close(state(method.teacher), expected)
    encoder, head = method.evaluation()
    assert (encoder, head) == (method.teacher.encoder, method.teacher.head)
    images = views_of(method, 1)["labelled"].images
    logits = method.eval().segment(images)
    assert not torch.equal(logits.argmax(1), torch.zeros_like(logits.argmax(1)))
    torch.testing.assert_close(logits[:1], method.segment(images[:1]))


@METHODS
def test_the_teacher_has_no_gradient(name: str) -> None:
    """The gradient reaches mixed images through the student alone: with predictions that are numbers it is the same."""
    given = {"memory_tau": 0.0} if name == "clmb" else {"tau": 0.0}
    method, again = (small(name, **given) for _ in range(2))
    views, same = (views_of(method, 0) for _ in range(2))
    images = [each["unlabelled"].images.requires_grad_() for each in (views, same)]
    method(views, Step(1, 2)).total.backward()
    assert all(p.grad is None and not p.requires_grad for p in method.teacher.parameters())
    groups = ("labelled", "unlabelled") if name == "clmb" else ("unlabelled",)
    numbers = [value.detach() for value in again.teacher.predict(torch.cat([same[group].images for group in groups]))]
    again.teacher.predict = lambda images: numbers
    again(same, Step(1, 2)).total.backward()
    assert images[1].grad is not None
    assert images[1].grad.abs().max() > 0
    torch.testing.assert_close(images[0].grad, images[1].grad)


@METHODS
def test_the_teacher_s_predictions_depend_neither_on_other_images_nor_on_dropout(name: str) -> None:
    method = small(name, dropout=0.5)
    train(method, 1)
    method.train()
    images = views_of(method, 5)["unlabelled"].images
    before = deepcopy(method.teacher.state_dict())
    whole = method.teacher.predict(images)[1]
    torch.testing.assert_close(whole[:1], method.teacher.predict(images[:1])[1])
    torch.testing.assert_close(dict(method.teacher.state_dict()), dict(before), rtol=0, atol=0)


@METHODS
def test_labelled_images_are_normalised_with_the_mixed_ones(name: str) -> None:
    method = small(name)
    first, second = views_of(method, 0), views_of(method, 0) | {"unlabelled": views_of(method, 1)["unlabelled"]}
    assert not torch.equal(*(method(views, Step(0, 1)).terms["supervised"] for views in (first, second)))


@METHODS
def test_the_head_learns_faster(name: str) -> None:
    method = small(name, head_lr=7.0)
    [group] = method.parameter_groups().values()
    assert group.lr == 7.0
    assert {id(p) for p in group.parameters} == {id(p) for p in method.head.parameters()}
