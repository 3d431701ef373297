"""Mean Teacher's loss is that of its formula; the teacher follows, gets no gradient, and is evaluated."""

import math
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from learners import batch, learner, softmax, supervised

from raysl.methods._method import Step, View
from raysl.methods.mean_teacher import MeanTeacher, consistency_loss, kept_share, ramped

DEFAULTS = {"lambda_u": 50.0, "ramp": 0.4, "momentum": 0.999, "p_flip": 0.5}
SHAPES_LOSS = ["lambda_u", "ramp", "momentum", "p_flip"]
IMPOSSIBLE = [{"lambda_u": 0.0}, {"ramp": 1.1}, {"momentum": 1.1}, {"p_flip": 1.5}]
PASSES = 1  # through each network: labelled and unlabelled images at once


def views_of(seed: int) -> dict[str, View]:
    views = batch(seed)
    return {"labelled": views["labelled"], "first": views["weak"], "second": views["strong"]}


def train(method: MeanTeacher, steps: int) -> None:
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.5)
    for number in range(steps):
        optimizer.zero_grad()
        method(views_of(number), Step(number, steps)).total.backward()
        optimizer.step()
        method.after_step(Step(number, steps), {})


def test_the_loss_of_two_images_by_hand() -> None:
    student = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log()
    teacher = torch.tensor([[0.7, 0.3], [0.9, 0.1]]).log()
    # Two squares of 0.2 and two of 0, over two images and two classes.
    assert consistency_loss(student, teacher).item() == pytest.approx(2 * 0.04 / 4)


@pytest.mark.parametrize(("progress", "t"), [(0.0, 0.0), (0.1, 0.25), (0.2, 0.5), (0.4, 1.0), (0.9, 1.0)])
def test_the_weight_rises_over_the_ramp(progress: float, t: float) -> None:
    assert ramped(progress, 0.4) == pytest.approx(math.exp(-5 * (1 - t) ** 2))
    assert ramped(progress, 0.0) == 1


@pytest.mark.parametrize("number", [0, 3, 9])
def test_the_loss_is_that_of_numpy(number: int) -> None:
    method, views = learner(MeanTeacher, lambda_u=20.0, ramp=0.5, momentum=0.9), views_of(7)
    train(method, 2)
    alone: Any = deepcopy(method)
    with torch.no_grad():
        joint = torch.cat([views["labelled"].images, views["first"].images])
        labelled, student = (part.numpy() for part in alone.classifier(alone.encoder(joint)).split([4, 8]))
        teacher = alone.teacher_classifier(alone.teacher_encoder(views["second"].images)).numpy()
    consistency = np.square(softmax(student) - softmax(teacher)).mean()
    weight = 20 * math.exp(-5 * (1 - min(number / 5, 1)) ** 2)
    losses = method(views, Step(number, 10))
    assert losses.terms["supervised"].item() == pytest.approx(supervised(labelled))
    assert losses.terms["consistency"].item() == pytest.approx(consistency)
    assert losses.total.item() == pytest.approx(supervised(labelled) + weight * consistency)


def test_the_consistency_teaches_the_student_and_not_the_teacher() -> None:
    method, views = learner(MeanTeacher), views_of(0)  # teacher and student are still equal
    images = {name: view.images.requires_grad_() for name, view in views.items()}
    method(views, Step(0, 1)).terms["consistency"].backward()
    gradients = [p.grad for part in (method.encoder, method.classifier) for p in part.parameters()]
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients[-2:])
    assert sum(float(gradient.abs().sum()) for gradient in gradients if gradient is not None) > 1e-3
    assert images["first"].grad is not None
    assert images["second"].grad is None
    teacher = [*method.teacher_encoder.parameters(), *method.teacher_classifier.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in teacher)


def test_the_teacher_is_the_average_of_the_closed_form_and_is_evaluated() -> None:
    method = learner(MeanTeacher, momentum=0.7)
    expected = {key: p.detach().clone() for key, p in method.encoder.named_parameters()}
    kept = [1 / 2, 2 / 3, 0.7, 0.7]  # 1 - 1 / (k + 2) at first
    assert [kept_share(0.7, number) for number in range(4)] == pytest.approx(kept)
    for number, share in enumerate(kept):
        with torch.no_grad():
            for parameter in method.encoder.parameters():
                parameter.add_(number + 1)
        method.after_step(Step(number, 4), {})
        expected = {
            key: share * expected[key] + (1 - share) * p.detach() for key, p in method.encoder.named_parameters()
        }
    encoder, classifier = method.evaluation()
    torch.testing.assert_close(dict(encoder.named_parameters()), expected)
    assert classifier is method.teacher_classifier
    images = torch.rand(5, 1, 8, 8).double()
    method.eval()
    assert torch.equal(method.classify(images), classifier(encoder(images)))


def test_the_teacher_has_running_statistics_of_what_it_has_seen() -> None:
    method = learner(MeanTeacher, momentum=0.5)
    alone = deepcopy(method.teacher_encoder)
    alone(views_of(0)["second"].images)
    train(method, 1)
    expected, found = (dict(each.named_buffers()) for each in (alone, method.teacher_encoder))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not torch.allclose(found["backbone.stem.1.running_mean"], method.encoder.backbone.stem[1].running_mean)


def test_labelled_images_are_normalised_with_the_unlabelled_ones() -> None:
    method = learner(MeanTeacher)
    first, second = views_of(0), views_of(0) | {"first": views_of(1)["first"]}
    assert not torch.equal(*(method(views, Step(0, 1)).terms["supervised"] for views in (first, second)))


def test_biases_and_norms_have_no_weight_decay() -> None:
    method = learner(MeanTeacher)
    [group] = method.parameter_groups().values()
    assert group.weight_decay == 0
    assert {id(p) for p in group.parameters} == {id(p) for p in method.parameters() if p.requires_grad and p.ndim == 1}
