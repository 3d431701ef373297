"""TriMix: Bdair et al. 2022, "TriMix: Virtual embeddings and self-consistency for self-supervised learning",
arXiv:2206.06023, section III and Algorithm 1: L = L_BT + beta L_vrt + gamma L_con (equation 11).

L_BT is the loss of `barlow_twins`, alpha its lambd. The images x of the first view, mixed with themselves in reverse
order, pass the network as a third batch, after the two views: running statistics of batch normalisation include mixed
images. No gradient is stopped.

Choices that the paper leaves:
- Equation 6 divides M by the norms of z's and z_vrt's rows, Algorithm 1 by D: it is D here. Rows of z_vrt have the
  norm sqrt(D) if they are normalised over features; those of z never are, and have that norm on average.
- Algorithm 1 takes torch's unbiased standard deviations, with which two equal views have C_ii = (B - 1) / B; they are
  biased here, over batch and features, as in equation 4 and in Barlow Twins' own implementation, with its eps of 1e-5.
- z~ is not normalised again (Algorithm 1, line 26): mixed from unrelated rows it has a variance of
  lambda^2 + (1 - lambda)^2, while z_vrt has one of 1, so that L_con never reaches 0 and varies with lambda.
- lambda is drawn for each batch (Algorithm 1, line 21); the text on Figure 5 has GT "created at each epoch".
- The softmax is over the virtual images n that an original m is compared with (equation 7, Figure 1).
- Equation 8's norm is the mean of absolute differences (L1Loss). With tau = 2 it is nearly the same for a perfect M and
  for zeros; `mixing_error` therefore reports the distance of M from its ground truth before the softmax too.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor

from raysl.collectives import gather, rank, sample_mean, standardised, world_size
from raysl.data.augment.transfer import on_device
from raysl.data.augment.views import Draw
from raysl.methods._method import Diagnostic, Losses, Matrix, Method, Step, View, ViewSpec
from raysl.methods.barlow_twins import cross_correlation, redundancy
from raysl.methods.simsiam import distorted_views
from raysl.models.encoder import Encoder
from raysl.models.projector import build_projector


class Matrices(NamedTuple):
    """Which originals m virtual images n are mixed of: [B, global B], rows m of this rank, columns n of all ranks.

    truth: GT of equation 8.  before: M of equation 6, about -1 to 1.  after: M of equation 7, rows that sum to 1.
    """

    truth: Tensor
    before: Tensor
    after: Tensor


class Mixing(NamedTuple):
    """A batch, its virtual images and their matrices (Figure 5).

    images, virtual: x and x_vrt, [B, C, H, W], normalised as the views are.
    truth, before, after: as in `Matrices`.
    """

    images: Tensor
    virtual: Tensor
    truth: Tensor
    before: Tensor
    after: Tensor


def mixed(rows: Tensor, lambd: Tensor) -> Tensor:
    """Return lambda rows + (1 - lambda) rows^r, where rows^r are the global batch in reverse order (equations 5 and 9).

    rows: [B, ...], this rank's, as `gather` takes them.  lambd: [B], the mixing factor, one number for all.
    """
    factors = lambd.view(-1, *[1] * (rows.dim() - 1))
    return factors * rows + (1 - factors) * _own(gather(rows).flip(0))


def mixing_matrices(z: Tensor, z_vrt: Tensor, lambd: Tensor, tau: float) -> Matrices:
    """Return which originals each virtual image is mixed of: the truth and the predictions (equations 6 to 8).

    z, z_vrt: [B, D], this rank's rows, normalised.  lambd: as `mixed` takes it.  tau: temperature of the softmax.
    """
    everyone = gather(z_vrt)
    before = z @ everyone.T / z.shape[1]
    identity = _own(torch.eye(len(everyone), dtype=z.dtype, device=z.device))
    factors = lambd.unsqueeze(1)
    truth = factors * identity + (1 - factors) * identity.flip(1)
    return Matrices(truth, before, (before / tau).softmax(1))


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean absolute difference over the global batch, as `sample_mean` does (equations 8 and 10).

    one, other: [B, D], this rank's rows.
    """
    return sample_mean((one - other).abs().mean(1))


def normalised(features: Tensor, virtual: Tensor, feature_norms: bool) -> tuple[Tensor, Tensor]:
    """Return z and z_vrt as the losses take them, in fp32 at least (Algorithm 1, lines 12, 29 and 30).

    features, virtual: [B, D] of any precision, this rank's rows, of x and of x_vrt; both are standardised over the
    global batch.  feature_norms: those of x_vrt are then standardised over each row too.
    """
    z, z_vrt = (standardised(rows.to(torch.promote_types(rows.dtype, torch.float32))) for rows in (features, virtual))
    return z, F.layer_norm(z_vrt, z_vrt.shape[1:]) if feature_norms else z_vrt


def with_mixing_factor(
    images: Tensor, draw: Draw, *, make: Callable[[Tensor, Draw], tuple[Tensor, Tensor | None]]
) -> tuple[Tensor, Tensor]:
    """Return the view that `make` makes, and the batch's mixing factor lambda, float32 [B], on the images' device."""
    seen, _ = make(images, draw)
    # Drawn last, so that the view is the same as that of `make` alone.
    return seen, on_device(draw.shared_uniform(), images.device)


def _one_sided(views: Mapping[str, View]) -> float:
    lambd = views["first"].aug_params
    assert lambd is not None, "it is drawn for the first view"
    return abs(float(lambd[0]) - 0.5)


def _own(rows: Tensor) -> Tensor:
    return rows[rank() :: world_size()]


class Trimix(Method):
    """Barlow Twins whose encoder also predicts which images a mixed image is made of, and embeds it between them.

    alpha: weight of Barlow Twins' off-diagonal term.
    beta: weight of the term `virtual` (L_vrt). A term with weight 0 is reported, but not trained; if both weights are
    0, no images are mixed and neither term is reported, as in Barlow Twins.
    gamma: weight of the term `consistency` (L_con).
    tau: temperature of the softmax over virtual images.
    feature_norms: virtual embeddings are normalised over the batch and then over their features; else over the batch
    alone (Table VI).
    virtual_on, consistency_on: whether the term takes the embeddings z or the encoder's features y, which are
    normalised in the same way (Table VII).
    projector: width of the embeddings.
    hidden: width of the projector's two hidden layers; None is that of the embeddings.
    min_crop: least share of an image's area that a view shows.
    interpolation: filter of a view's crop, by torchvision's name.
    """

    streams = ("unlabelled",)
    diagnostics = ("mixing",)
    shapes_loss = (
        "alpha",
        "beta",
        "gamma",
        "tau",
        "feature_norms",
        "virtual_on",
        "consistency_on",
        "projector",
        "min_crop",
        "interpolation",
    )

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        alpha: Annotated[float, Gt(0)] = 0.005,
        beta: Annotated[float, Ge(0)] = 1000.0,
        gamma: Annotated[float, Ge(0)] = 200.0,
        tau: Annotated[float, Gt(0)] = 2.0,
        feature_norms: bool = True,
        virtual_on: Literal["z", "y"] = "z",
        consistency_on: Literal["z", "y"] = "z",
        projector: Annotated[int, Ge(2), Le(2**16)] = 1024,
        hidden: Annotated[int, Ge(1), Le(2**16)] | None = None,
        min_crop: Annotated[float, Gt(0), Le(1)] = 0.2,
        interpolation: Literal["bilinear", "bicubic"] = "bicubic",
    ) -> None:
        super().__init__(encoder)
        self.alpha, self.beta, self.gamma, self.tau = alpha, beta, gamma, tau
        self.feature_norms, self.virtual_on, self.consistency_on = feature_norms, virtual_on, consistency_on
        self.min_crop, self.interpolation = min_crop, interpolation
        self.projector = build_projector(encoder.num_features, hidden or projector, projector)

    def views(self) -> Mapping[str, ViewSpec]:
        made = distorted_views(self.min_crop, 0.0, self.interpolation)
        return {**made, "first": ViewSpec("unlabelled", partial(with_mixing_factor, make=made["first"].make))}

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        images, lambd = views["first"].images, views["first"].aug_params
        first, second = self._embedded(images), self._embedded(views["second"].images)
        on_diagonal, off_diagonal = redundancy(cross_correlation(first["z"], second["z"]))
        total = on_diagonal + self.alpha * off_diagonal
        terms = {"on_diagonal": on_diagonal, "off_diagonal": off_diagonal}
        weights = {name: weight for name, weight in (("virtual", self.beta), ("consistency", self.gamma)) if weight}
        if weights:
            assert lambd is not None
            terms |= self._mixing_terms(first, self._embedded(mixed(images, lambd)), lambd)
        return Losses(total + sum(weight * terms[name] for name, weight in weights.items()), terms)

    def diagnose(self, name: str, batches: Iterable[Mapping[str, View]]) -> Diagnostic:
        """Return the mixing matrices (Figure 5), with virtual images as rows and the originals as columns.

        It takes the batch whose lambda is nearest 0.5, in which both images of a mixture can be seen.
        """
        found = self.mixing(min(batches, key=_one_sided))
        size, lambd = len(found.images), float(found.truth[0, 0])
        mix = f"virtual image n is λ image n + (1 - λ) image {size + 1} - n, with λ = {lambd:.2f}"
        return Diagnostic(
            f"what is mixed of {size} training images",
            f"{mix}; model in eval mode, embeddings standardised over these {size} images",
            found.virtual,
            found.images,
            (
                Matrix("ground truth", found.truth.T, -1.0, 1.0),
                Matrix("predicted, before the softmax", found.before.T, -1.0, 1.0),
                Matrix("predicted, after the softmax (columns sum to 1)", found.after.T, 0.0, None),
            ),
        )

    @torch.no_grad()
    def mixing(self, views: Mapping[str, View]) -> Mixing:
        """Return a batch's virtual images and their matrices; the method stays in its mode, train or eval.

        views: as `forward` takes them; `first` alone is used.
        """
        images, lambd = views["first"].images, views["first"].aug_params
        assert lambd is not None
        virtual = mixed(images, lambd)
        of_images, of_virtual = self._embedded(images), self._embedded(virtual)
        with torch.autocast(images.device.type, enabled=False):
            z, z_vrt = self._normalised(self.virtual_on, of_images, of_virtual)
            return Mixing(images, virtual, *mixing_matrices(z, z_vrt, lambd, self.tau))

    def _embedded(self, images: Tensor) -> dict[str, Tensor]:
        features = self.encoder(images)
        return {"y": features, "z": self.projector(features)}

    def _normalised(self, on: str, first: dict[str, Tensor], virtual: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return normalised(first[on], virtual[on], self.feature_norms)

    def _mixing_terms(self, first: dict[str, Tensor], virtual: dict[str, Tensor], lambd: Tensor) -> dict[str, Tensor]:
        with torch.autocast(lambd.device.type, enabled=False):
            # Each once, and in the same order on all ranks, because normalisation is collective.
            places = dict.fromkeys((self.virtual_on, self.consistency_on))
            pairs = {on: self._normalised(on, first, virtual) for on in places}
            truth, before, after = mixing_matrices(*pairs[self.virtual_on], lambd, self.tau)
            z, z_vrt = pairs[self.consistency_on]
            return {
                "virtual": distance(after, truth),
                "consistency": distance(mixed(z, lambd), z_vrt),
                "mixing_error": distance(before.detach(), truth),
            }
