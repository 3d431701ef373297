"""CLMB: Alonso et al. 2021, "Semi-supervised semantic segmentation with pixel-level contrastive learning from a
class-wise memory bank", arXiv:2104.13415, in the version of ICCV 2021, with the values of the authors' code,
Shathe/SemiSeg-Contrastive (trainSSL.py): L = l_s + w(k) l_p + 0.01 l_e + 0.1 (C_l + C_u).  l_s is the cross-entropy
of labelled pixels.  l_p is that of mixed unlabelled images with the teacher's argmax, each pixel weighted by its
highest probability to the power of 6; w(k) rises along exp(-5 (1 - t)^2).  l_e is the entropy of the student's
probabilities for mixed images, over log K.  The teacher is the exponential moving average of the student; the share
that is kept after step k is 1 - 1 / (10 k + 1), until that exceeds the momentum.

C is the contrast of labelled (C_l) and of mixed unlabelled images (C_u), from the end of the ramp of w(k).  A projector
and a predictor make an embedding for each place of the backbone's maps.  For each class c, C_c is the mean of
r_i v_j (1 - cos(i, j)) over the embeddings i of class c and the memory's vectors j of class c; C is the mean of C_c
over classes.  r and v are weights from a network for each class: its sigmoid, over the mean of that.  The memory has
the last vectors of each class: those of the teacher's projector at places of labelled images whose class the teacher
predicts with a probability of at least memory_tau.  Of each image and class those enter that the network for r weighs
most.

As in the authors' DeepLabV2, embeddings are of the backbone's maps.  A memory of 2048 vectors is the default of their
memory's class; their training takes 256.  Unlike their code:
- Each unlabelled image is in one mixture, as in `classmix`, at all steps.  There, it is in two, of which three quarters
  are mixed after the ramp, with flips, scales, colour jitter and blur of their own, and some labelled ones are mixed.
- v_j is scaled by its mean over the memory, as r_i is over the embeddings.  There, the sum over the other axis makes
  each v_j 1.
- Vectors that weigh most enter, as a comment there says; the sort there puts those that weigh least first.  A number of
  each image enters; there, it is a number of the batch.  The memory fills from the first step on; there, shortly before
  C begins.
- The networks for r and v have no batch normalisation and no average.  All classes have the same weight in the
  cross-entropies.
- Labels and predictions are compared at the maps' resolution, at the middle of a place.
- Labelled and mixed images pass the student at once; the teacher is in eval mode with averaged statistics, and is what
  is evaluated.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from raysl.collectives import all_reduce_sum, gather
from raysl.methods._learner import wide
from raysl.methods._method import Evaluation, Losses, Method, ParameterGroup, Step, View, ViewSpec
from raysl.methods._mixing import Teacher, kept_share, pixel_mean
from raysl.methods._segmenter import Crops, faster, head_on, pixel_cross_entropy
from raysl.methods.classmix import class_mixed, pseudo_label_loss, with_priorities
from raysl.methods.mean_teacher import ramped
from raysl.methods.moco import units
from raysl.methods.self_tuning import enqueued
from raysl.models.dense import enlarged
from raysl.models.encoder import Encoder
from raysl.results.confusion import IGNORED


class Selectors(nn.Module):
    """A network for each class that weighs vectors [N, D] of the class: from 0 to 1."""

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1)) for _ in range(num_classes)
        )

    def forward(self, vectors: Tensor, classes: Tensor) -> Tensor:
        """Return the weights [N] of vectors [N, D], each by the network of its class, int64 [N]; 0 without a class."""
        places = [torch.nonzero(classes == number).squeeze(1) for number in range(len(self.networks))]
        with torch.autocast(vectors.device.type, enabled=False):
            each = [network(vectors[own]).squeeze(1) for network, own in zip(self.networks, places, strict=True)]
            found = torch.cat(each).sigmoid()
        weights: Tensor = found.new_zeros(len(vectors)).index_copy(0, torch.cat(places), found)
        return weights


def perceptron(inputs: int, width: int) -> nn.Module:
    """Return a network of two 1x1 convolutions, maps [B, inputs, h, w] -> [B, width, h, w]."""
    first = nn.Conv2d(inputs, width, 1, bias=False)
    return nn.Sequential(first, nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 1))


def at_places(classes: Tensor, size: torch.Size) -> Tensor:
    """Return the classes [B, h, w] at the middle of each place of maps; int64 [B, H, W] of pixels."""
    return F.interpolate(classes.unsqueeze(1).double(), size=tuple(size), mode="nearest-exact").squeeze(1).long()


def by_place(maps: Tensor) -> Tensor:
    """Return the vectors [B h w, D] of maps [B, D, h, w], in fp32 at least."""
    return wide(maps.permute(0, 2, 3, 1).flatten(0, 2))


def contrast(embeddings: Tensor, classes: Tensor, weights: Tensor, memory: Tensor, shares: Tensor) -> Tensor:
    """Return the weighted mean of 1 - cos for each class, over the global batch; their sum over the number of classes.

    A class that no embedding has, or without a vector in the memory, adds 0.
    embeddings: [N, D] of any length, in fp32 at least, this rank's.  classes: int64 [N]; IGNORED is none.
    weights: [N], of embeddings.  memory: unit vectors [K, Q, D].  shares: [K, Q], the vectors' weights, which sum to 1
    for each class; 0 for a class without vectors.
    """
    num_classes = len(memory)
    counted = classes != IGNORED
    own, w = classes.masked_fill(~counted, 0), weights * counted
    # The mean over the memory is linear in its vectors, so their weighted mean stands for all of them.
    centres = torch.einsum("kq,kqd->kd", shares, memory)
    distances = 1 - (units(embeddings) * centres[own]).sum(dim=1)
    sums = all_reduce_sum(w.new_zeros(2, num_classes).index_add(1, own, torch.stack([w * distances, w])))
    each = sums[0] / sums[1].clamp(min=torch.finfo(w.dtype).tiny)
    return each.masked_fill(~(shares > 0).any(dim=1), 0).sum() / num_classes


def heaviest(
    vectors: Tensor, classes: Tensor, weights: Tensor, candidates: Tensor, num_classes: int, number: int
) -> tuple[Tensor, Tensor]:
    """Return for each image and class the candidates that weigh most, [B, K, n, D], and which of them there are.

    vectors: [B, P, D].  classes: int64 [B, P].  weights: [B, P].  candidates: bool [B, P].  number: n, at most P.
    The second is int64 [B, K, n], 1 or 0.
    """
    kinds = torch.arange(num_classes, device=classes.device).view(1, -1, 1)
    member = (classes.unsqueeze(1) == kinds) & candidates.unsqueeze(1)
    scores = weights.unsqueeze(1).masked_fill(~member, -torch.inf)
    found, places = scores.topk(min(number, scores.shape[2]), dim=2)
    return vectors.unsqueeze(1).take_along_dim(places.unsqueeze(3), dim=2), found.isfinite().long()


class Clmb(Method):
    """Cross-entropy on labelled and pseudo-labelled pixels, and embeddings like those of their class in a memory.

    power: a pseudo-label's weight is its probability to this power.  ramp: share of the steps in which the weight of
    pseudo-labels rises, before the contrast begins.  lambda_e, lambda_c: weights of the entropy and of each contrast.
    memory: vectors of each class.  memory_tau: least probability at which a correct prediction enters it.
    entering: vectors that enter it of each class and labelled image, at most.  projector: width of the embeddings.
    momentum: share of the teacher that is kept at each step; the teacher is evaluated.
    head, width, dropout, output_stride, freeze_norm, head_lr, crop, min_scale, max_scale, p_flip: as in `segmentation`.
    """

    streams = ("labelled", "unlabelled")
    level = "pixel"
    shapes_loss = (
        "power", "ramp", "lambda_e", "lambda_c", "memory", "memory_tau", "entering", "projector", "momentum",
        "crop", "min_scale", "max_scale", "p_flip",
    )  # fmt: skip

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        power: Annotated[float, Ge(0)] = 6.0,
        ramp: Annotated[float, Ge(0), Le(1)] = 0.05,
        lambda_e: Annotated[float, Ge(0)] = 0.01,
        lambda_c: Annotated[float, Ge(0)] = 0.1,
        memory: Annotated[int, Ge(1), Le(2**16)] = 2048,
        memory_tau: Annotated[float, Ge(0), Le(1)] = 0.95,
        entering: Annotated[int, Ge(1)] = 5,
        projector: Annotated[int, Ge(2), Le(2**16)] = 256,
        momentum: Annotated[float, Ge(0), Le(1)] = 0.996,
        head: Literal["deeplabv3", "deeplabv2"] = "deeplabv3",
        width: Annotated[int, Ge(1)] = 256,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.5,
        output_stride: Literal[4, 8, 16, 32] = 16,
        freeze_norm: bool = False,
        head_lr: Annotated[float, Gt(0)] = 10.0,
        crop: Annotated[int, Ge(8)] | None = None,
        min_scale: Annotated[float, Gt(0), Le(1)] = 0.5,
        max_scale: Annotated[float, Ge(1)] = 1.5,
        p_flip: Annotated[float, Ge(0), Le(1)] = 0.5,
    ) -> None:
        super().__init__(encoder)
        self.num_classes, self.head_lr, self.momentum = num_classes, head_lr, momentum
        self.memory_tau, self.power, self.ramp, self.entering = memory_tau, power, ramp, entering
        self.lambda_e, self.lambda_c = lambda_e, lambda_c
        build = partial(head_on, encoder, num_classes, head, width=width, dropout=dropout)
        self.head = build(output_stride=output_stride, freeze_norm=freeze_norm)
        self.crops = Crops(encoder.image_size, crop, (min_scale, max_scale), p_flip)
        self.projector, self.predictor = perceptron(encoder.num_features, projector), perceptron(projector, projector)
        self.selectors, self.memory_selectors = (Selectors(num_classes, projector) for _ in range(2))
        self.teacher = Teacher(encoder, self.head, self.projector)
        self.register_buffer("memory", torch.zeros(num_classes, memory, projector))
        self.register_buffer("filled", torch.zeros(num_classes, dtype=torch.int64))

    def views(self) -> Mapping[str, ViewSpec]:
        make = partial(with_priorities, make=self.crops.view("unlabelled").make, num_classes=self.num_classes)
        return {"labelled": self.crops.view("labelled"), "unlabelled": ViewSpec("unlabelled", make)}

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        labelled, unlabelled = views["labelled"], views["unlabelled"]
        count = len(labelled.images)
        assert labelled.labels is not None
        assert unlabelled.aug_params is not None
        maps, coarse = self.teacher.predict(torch.cat([labelled.images, unlabelled.images]))
        outputs = self._entering(maps[:count], coarse[:count], labelled.labels)
        images, targets = class_mixed(unlabelled.images, coarse[count:], unlabelled.aug_params)
        maps = self.encoder.maps(torch.cat([labelled.images, images]))
        logits = enlarged(wide(self.head(maps)), images.shape[2:])
        weights, classes = targets.softmax(dim=1).amax(dim=1) ** self.power, targets.argmax(dim=1)
        logs = logits[count:].log_softmax(dim=1)
        terms = {
            "supervised": pixel_cross_entropy(logits[:count], labelled.labels),
            "pseudo": pseudo_label_loss(logits[count:], targets, weights),
            "entropy": pixel_mean(-(logs.exp() * logs).sum(dim=1) / math.log(self.num_classes)),
            **self._contrasts(maps, labelled.labels, classes),
        }
        total = terms["supervised"] + ramped(step.progress, self.ramp) * terms["pseudo"]
        begun = float(step.progress >= self.ramp)
        contrasts = self.lambda_c * begun * (terms["contrast"] + terms["pseudo_contrast"])
        total = total + self.lambda_e * terms["entropy"] + contrasts
        return Losses(total, terms, outputs=outputs, confident=pixel_mean(weights))

    def after_step(self, step: Step, outputs: Mapping[str, Tensor]) -> None:
        self.teacher.update((self.encoder, self.head, self.projector), kept_share(self.momentum, step.number, 10))
        memory, filled = self.get_buffer("memory"), self.get_buffer("filled")
        there = gather(outputs["there"]) == 1  # [B, K, n]
        classes = torch.arange(self.num_classes, device=there.device).view(1, -1, 1).expand_as(there)
        found, came = enqueued(memory, gather(outputs["vectors"]).to(memory.dtype)[there], classes[there])
        memory.copy_(found)
        filled.copy_((filled + came).clamp(max=memory.shape[1]))

    def parameter_groups(self) -> Mapping[str, ParameterGroup]:
        return faster(self.head, self.head_lr)

    def evaluation(self) -> Evaluation:
        return self.teacher.evaluation()

    @torch.no_grad()
    def _entering(self, maps: Tensor, coarse: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the vectors of labelled images that enter the memory: [B, K, n, D], and which there are, [B, K, n]."""
        [projector] = self.teacher.others
        places = at_places(labels, maps.shape[2:])
        probabilities, classes = coarse.softmax(dim=1).max(dim=1)
        right = ((classes == places) & (probabilities >= self.memory_tau)).flatten(1)
        vectors = by_place(projector(maps))
        weights = self.selectors(vectors, places.flatten()).view_as(right)
        grouped = units(vectors).view(*right.shape, vectors.shape[1])
        found, there = heaviest(grouped, places.flatten(1), weights, right, self.num_classes, self.entering)
        return {"vectors": found, "there": there}

    def _contrasts(self, maps: Tensor, labels: Tensor, pseudo: Tensor) -> dict[str, Tensor]:
        """Return the contrast of labelled images and of unlabelled ones, whose maps follow, with the memory."""
        embeddings = self.predictor(self.projector(maps))
        # A copy: the memory changes before the gradient of another forward may have been taken.
        memory, filled = self.get_buffer("memory").clone(), self.get_buffer("filled").unsqueeze(1)
        num_classes, size, _ = memory.shape
        counts = torch.arange(size, device=memory.device) >= size - filled
        owners = torch.arange(num_classes, device=memory.device).repeat_interleave(size)
        v = self.memory_selectors(memory.flatten(0, 1), owners).view(num_classes, size) * counts
        shares = v / v.sum(dim=1, keepdim=True).clamp(min=torch.finfo(v.dtype).tiny)
        groups = embeddings.split([len(labels), len(pseudo)])
        found = {}
        for name, group, classes in zip(("contrast", "pseudo_contrast"), groups, (labels, pseudo), strict=True):
            vectors, own = by_place(group), at_places(classes, maps.shape[2:]).flatten()
            with torch.autocast(vectors.device.type, enabled=False):
                found[name] = contrast(vectors, own, self.selectors(vectors.detach(), own), memory, shares)
        return found
