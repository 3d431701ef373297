"""The interface of methods to the training loop: the views that a method consumes and the losses that it returns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from raysl.data.augment.views import Draw
from raysl.models.dense import enlarged
from raysl.models.encoder import Encoder

Stream = Literal["labelled", "unlabelled"]


class View(NamedTuple):
    """A view of a batch, as the method sees it.

    images: float [B, C, H, W], normalised.
    labels: int64 [B], the classes of a `labelled` stream; int64 [B, H, W], the class of each pixel or `IGNORED`, of
        images with masks; None for `unlabelled`.
    aug_params: [B, ...], random parameters of the view that the method needs (rotations, TriMix's lambda); else None.
    rows: int64 [B], places of the images in D_l or in D_u, of this trial; None where nobody needs them.
    """

    images: Tensor
    labels: Tensor | None
    aug_params: Tensor | None
    rows: Tensor | None = None


class ViewSpec(NamedTuple):
    """How a view is made.

    stream: where the images come from.
    make: float [B, C, H, W] in [0, 1] and a Draw -> (images of the same kind, what was drawn or None).
    make_masks: uint8 [B, H, W] and a Draw with the same numbers -> the masks of those images, of their size; for views
        of labelled images with masks.
    """

    stream: Stream
    make: Callable[[Tensor, Draw], tuple[Tensor, Tensor | None]]
    make_masks: Callable[[Tensor, Draw], Tensor] | None = None


class Step(NamedTuple):
    """The position of a step in the training.

    number: steps taken before it, over all epochs, from 0.  total: steps of the whole training.
    """

    number: int
    total: int

    @property
    def progress(self) -> float:
        """k / K: 0 at the first step, and below 1 at the last."""
        return self.number / self.total


class Losses(NamedTuple):
    """The losses of a step.

    total: the scalar that is minimised.  terms: its named terms, scalars without their weights.
    spread: scalar without gradient, how far apart a siamese method's embeddings lie (`embedding_spread`): 1 if they are
        spread evenly, 0 if they have collapsed to a point.  None for other methods.
    outputs: tensors of this rank that `after_step` needs, by name.
    confident: scalar without gradient, the share of unlabelled images whose pseudo-labels count in the loss.  None for
        methods without pseudo-labels.
    """

    total: Tensor
    terms: dict[str, Tensor]
    spread: Tensor | None = None
    outputs: Mapping[str, Tensor] = MappingProxyType({})
    confident: Tensor | None = None

    def outputs_of(self, part: str) -> dict[str, Tensor]:
        """Return the outputs, renamed for the method of which these losses' method is the attribute `part`."""
        return {f"{part}.{name}": value for name, value in self.outputs.items()}


class Matrix(NamedTuple):
    """A matrix of a diagnostic.

    values: float [rows, columns].  low, high: ends of the scale that they are shown on; None is their largest.
    """

    title: str
    values: Tensor
    low: float
    high: float | None


class Diagnostic(NamedTuple):
    """A figure of a method on a batch: matrices with an image for each row and each column.

    title: what is shown.  caption: how to read it.
    rows, columns: float [N, C, H, W], normalised as the views are.
    """

    title: str
    caption: str
    rows: Tensor
    columns: Tensor
    matrices: tuple[Matrix, ...]


class ParameterGroup(NamedTuple):
    """Parameters with a learning rate or a weight decay of their own.

    lr, weight_decay: factors of the stage's learning rate, at each step of its schedule, and of its weight decay.
    """

    parameters: Sequence[nn.Parameter]
    lr: float = 1.0
    weight_decay: float = 1.0


class Evaluation(NamedTuple):
    """The networks that are probed and scored, and that a later trial starts from; submodules of their method.

    encoder: images -> features [B, encoder.num_features].
    classifier: features -> logits [B, K]; of a method that learns masks, maps of `encoder.maps` -> logits [B, K, h, w];
        None for a method that learns no classes.
    """

    encoder: Encoder
    classifier: nn.Module | None = None


class Method(nn.Module):
    """A learning method around a shared encoder.

    A subclass takes `(encoder, num_classes, *, hyperparameters...)`; each hyperparameter is an annotated keyword
    with a default, and those that change what the loss means are named in `shapes_loss`.  `streams` are those of its
    views; `diagnostics` names the diagnostics that `diagnose` makes.  `level` is `pixel` for a method of feature maps.
    """

    streams: ClassVar[tuple[Stream, ...]] = ()
    shapes_loss: ClassVar[tuple[str, ...]] = ()
    diagnostics: ClassVar[tuple[str, ...]] = ()
    level: ClassVar[Literal["image", "pixel"]] = "image"

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def remember(self, num_unlabelled: int) -> None:
        """Make the state that has an entry for each image of D_u, whose number is given; by default, there is none.

        Called once, before anything is trained or loaded.  `View.rows` are the entries' places.
        """

    def views(self) -> Mapping[str, ViewSpec]:
        """Return the views that `forward` consumes, all of them, by name."""
        raise TypeError(f"{type(self).__name__} declares no views")

    def forward(self, views: Mapping[str, View], step: Step) -> Losses:
        """Return this rank's share of the losses of the global batch: over ranks, shares average to them."""
        raise TypeError(f"{type(self).__name__} has no forward")

    def after_step(self, step: Step, outputs: Mapping[str, Tensor]) -> None:
        """Update the method's state after an optimizer step; by default, that of the methods nested in it.

        Called on every rank, on the method itself and not on the wrapper of its `forward`.
        step: the one that `forward` was called with.
        outputs: those of this rank's `forward` in this step, without gradient.  State must be the same on all ranks:
            pass outputs through `collectives.gather` before keeping them.
        """
        for name, part in self.named_children():
            if isinstance(part, Method):
                prefix = f"{name}."
                own = {key.removeprefix(prefix): value for key, value in outputs.items() if key.startswith(prefix)}
                part.after_step(step, own)

    def parameter_groups(self) -> Mapping[str, ParameterGroup]:
        """Return the groups of parameters with factors of their own, by name; by default, those of nested methods.

        A parameter in no group is trained as the stage says; one that requires no gradient is not trained at all.
        """
        parts = {name: part for name, part in self.named_children() if isinstance(part, Method)}
        return {f"{name}.{key}": own for name, part in parts.items() for key, own in part.parameter_groups().items()}

    def diagnose(self, name: str, batches: Iterable[Mapping[str, View]]) -> Diagnostic:
        """Return one of its `diagnostics` of a batch; the method stays in its mode, train or eval.

        batches: at least one small batch of training images, as `forward` takes them; the method chooses among them.
        """
        raise TypeError(f"{type(self).__name__} has no diagnostic {name!r}")

    def evaluation(self) -> Evaluation:
        """Return the networks that are evaluated; by default, the trained encoder itself."""
        return Evaluation(self.encoder)

    def classify(self, images: Tensor) -> Tensor:
        """Return the logits [B, K] of the evaluated classifier, of one of `methods.classifiers()`.

        images: float [B, C, H, W], normalised, or the backbone's output for them (`Encoder.forward`).
        """
        encoder, classifier = self.evaluation()
        if classifier is None:
            raise TypeError(f"{type(self).__name__} has no classifier: it learns no classes")
        logits: Tensor = classifier(encoder(images))
        return logits

    def segment(self, images: Tensor) -> Tensor:
        """Return the logits [B, K, H, W] of each pixel, of one of `methods.segmenters()`, in fp32 at least.

        images: float [B, C, H, W], normalised.
        """
        encoder, head = self.evaluation()
        if head is None:
            raise TypeError(f"{type(self).__name__} has no segmentation head: it learns no masks")
        logits: Tensor = head(encoder.maps(images))
        return enlarged(logits.to(torch.promote_types(logits.dtype, torch.float32)), images.shape[2:])
