"""Two branches on one encoder: their sum, their weights, and what they do not share."""

import torch
import torch.nn.functional as F
from steps import FIRST

from raysl.methods._method import View
from raysl.methods.rotation import Rotation
from raysl.methods.semi import Semi
from raysl.methods.simsiam import Simsiam
from raysl.methods.supervised import Supervised
from raysl.models.encoder import Encoder, build_encoder
from raysl.models.settings import ModelSettings

DEFAULTS = {"pretext": ..., "lambda_l": 1.0, "lambda_u": 1.0, "views": "none"}
SHAPES_LOSS = ["lambda_l", "lambda_u", "views"]
IMPOSSIBLE = [{"lambda_l": 0.0}, {"lambda_u": 0.0}, {"views": "crop"}]


def encoder() -> Encoder:
    torch.manual_seed(0)
    return build_encoder(ModelSettings(), channels=1, image_size=8)


def method(lambda_l: float = 1.0, lambda_u: float = 1.0) -> Semi:
    shared = encoder()
    return Semi(shared, 3, pretext=Rotation(shared, 3), lambda_l=lambda_l, lambda_u=lambda_u)


def batch(unlabelled_seed: int = 1) -> dict[str, View]:
    labelled = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    unlabelled = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(unlabelled_seed))
    return {
        "labelled": View(labelled, torch.arange(6) % 3, None),
        "rotated": View(unlabelled, None, torch.arange(6) % 4),
    }


def test_total_is_the_weighted_sum_of_unweighted_terms() -> None:
    total, terms, *_ = method(lambda_l=2.0, lambda_u=0.5)(batch(), FIRST)
    assert terms.keys() == {"supervised", "rotation"}
    torch.testing.assert_close(total, 2 * terms["supervised"] + 0.5 * terms["rotation"])
    plain = method()(batch(), FIRST)
    torch.testing.assert_close(plain.terms, terms)
    torch.testing.assert_close(plain.total, terms["supervised"] + terms["rotation"])


def test_gradient_of_the_encoder_is_the_weighted_sum_of_the_branches() -> None:
    def gradient(lambda_l: float, lambda_u: float) -> torch.Tensor:
        semi = method(lambda_l, lambda_u)
        semi(batch(), FIRST).total.backward()
        return torch.cat([p.grad.flatten() for p in semi.encoder.parameters() if p.grad is not None])

    labelled, unlabelled = gradient(1.0, 1e-30), gradient(1e-30, 1.0)
    assert labelled.norm() > 0
    assert unlabelled.norm() > 0
    torch.testing.assert_close(gradient(2.0, 3.0), 2 * labelled + 3 * unlabelled, rtol=1e-4, atol=1e-5)


def test_each_branch_is_what_it_would_be_alone() -> None:
    semi, views = method(), batch()
    torch.testing.assert_close(semi.supervised(views, FIRST).total, semi(views, FIRST).terms["supervised"])
    torch.testing.assert_close(semi.pretext(views, FIRST).total, semi(views, FIRST).terms["rotation"])


def test_views_are_of_the_labelled_images_alone() -> None:
    shared = encoder()
    plain, cropped = (
        Semi(shared, 3, pretext=Rotation(shared, 3), views=views).views() for views in ("none", "crop_flip")
    )
    assert cropped["labelled"] == Supervised(shared, 3, views="crop_flip").views()["labelled"] != plain["labelled"]
    assert cropped["rotated"] == plain["rotated"]


def test_branches_are_normalised_apart() -> None:
    # One concatenated pass would let the unlabelled images into the labelled ones' batch statistics.
    first, second = method()(batch(1), FIRST), method()(batch(2), FIRST)
    assert first.terms["supervised"] == second.terms["supervised"]
    assert first.terms["rotation"] != second.terms["rotation"]
    semi = method()
    semi(batch(), FIRST)
    counts = [value for key, value in semi.encoder.state_dict().items() if key.endswith("num_batches_tracked")]
    assert {int(count) for count in counts} == {2}


def test_spread_is_that_of_the_pretext() -> None:
    assert method()(batch(), FIRST).spread is None
    shared = encoder()
    semi = Semi(shared, 3, pretext=Simsiam(shared, 3, projector=24, predictor=8))
    labelled, first = batch().values()
    views = {"labelled": labelled, "first": first, "second": View(first.images.flip(3), None, None)}
    spread = semi(views, FIRST).spread
    assert spread is not None
    assert spread == semi.pretext(views, FIRST).spread


def test_classes_are_those_of_the_supervised_branch() -> None:
    semi, views = method().eval(), batch()
    images, labels = views["labelled"].images, views["labelled"].labels
    assert labels is not None
    torch.testing.assert_close(F.cross_entropy(semi.classify(images), labels), semi(views, FIRST).terms["supervised"])


def test_encoder_is_shared_and_heads_are_not() -> None:
    semi = method()
    names = [name for name, _ in semi.named_parameters() if not name.startswith("encoder.")]
    assert names == [
        "supervised.classifier.weight",
        "supervised.classifier.bias",
        "pretext.classifier.weight",
        "pretext.classifier.bias",
    ]
