"""The same training as raysl's, as one writes it with torchvision or lightly: PIL images, transforms, a DataLoader.

Model, heads, batch, views and optimizer are those of the trial. The decoded images are at hand in memory, which spares
a peer the decoding that an ImageFolder would do anew in every epoch.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import lightly.loss
import torch
from lightly.models.utils import update_momentum
from lightly.transforms.byol_transform import BYOLView2Transform
from lightly.transforms.simclr_transform import SimCLRViewTransform
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms
from torchvision.transforms import v2

from raysl.data.augment.consistency import SHIFT, strong, weak
from raysl.data.augment.siamese import distorted
from raysl.data.augment.views import identity, rotated
from raysl.methods._method import Method, Step, View, ViewSpec
from raysl.training import settings
from raysl.training.input_pipeline import Feed

SIGMAS = (0.1, 2.0)  # of blurs, as raysl draws them
FIRST = Step(0, 1)
JITTER = {"brightness": 0.4, "contrast": 0.4, "hue": 0.1}

ToTensor = Callable[[Image.Image], Tensor]


class Made(NamedTuple):
    """A view of an image, and what was drawn for it (0 where nothing is asked)."""

    image: Tensor
    aug_params: int


def distortion(view: ViewSpec) -> Mapping[str, Any] | None:
    """Return the numbers of a view that is a distortion, however it is wrapped; None for other views."""
    make = view.make
    while isinstance(make, partial) and make.func is not distorted:
        make = make.keywords.get("make")
    return make.keywords if isinstance(make, partial) else None


def torchvision_distortion(numbers: Mapping[str, Any], size: int, finish: list[Any]) -> ToTensor:
    """Return torchvision's transforms with the numbers of raysl's `distorted`."""
    jitter = transforms.ColorJitter(saturation=numbers["saturation"], **JITTER)
    blur = transforms.GaussianBlur(size // 10 * 2 + 1, SIGMAS)
    interpolation = transforms.InterpolationMode(numbers["interpolation"])
    crop = transforms.RandomResizedCrop(size, (numbers["min_crop"], 1.0), interpolation=interpolation)
    parts = [crop, transforms.RandomHorizontalFlip(), transforms.RandomApply([jitter], 0.8)]
    parts += [transforms.RandomGrayscale(0.2), transforms.RandomApply([blur], numbers["p_blur"])]
    parts += [transforms.RandomSolarize(128, numbers["p_solarise"])]
    made: ToTensor = transforms.Compose([*parts, *finish])
    return made


def consistency(view: ViewSpec, size: int, finish: list[Any]) -> ToTensor | None:
    """Return torchvision's transforms for a weak or strong view; None for other views.

    Its RandAugment has the same 14 operations, at one magnitude.
    """
    make, given = (view.make.func, view.make.keywords) if isinstance(view.make, partial) else (view.make, {})
    if make not in (weak, strong):
        return None
    parts: list[Any] = [v2.RandomHorizontalFlip(given.get("p_flip", 0.5))]
    parts += [v2.RandomCrop(size, round(SHIFT * size), padding_mode="reflect")]
    parts += [v2.RandAugment(2)] if make is strong else []
    cut = [v2.RandomErasing(1.0, (0.25, 0.25), (1.0, 1.0), 0.5)] if make is strong else []
    made: ToTensor = v2.Compose([*parts, finish[0], *cut, *finish[1:]])
    return made


def lightly_distortion(numbers: Mapping[str, Any], size: int, finish: list[Any]) -> ToTensor:
    """Return lightly's transform with the numbers of raysl's `distorted`; its crops are bilinear."""
    shared: dict[str, Any] = {
        "input_size": size,
        "cj_strength": 1.0,
        "cj_bright": JITTER["brightness"],
        "cj_contrast": JITTER["contrast"],
        "cj_sat": numbers["saturation"],
        "cj_hue": JITTER["hue"],
        "min_scale": numbers["min_crop"],
        "gaussian_blur": numbers["p_blur"],
        "sigmas": SIGMAS,
        "normalize": {"mean": finish[-1].mean, "std": finish[-1].std},
    }
    solarised = partial(BYOLView2Transform, solarization_prob=numbers["p_solarise"])
    made: ToTensor = (solarised if numbers["p_solarise"] else SimCLRViewTransform)(**shared)
    return made


class Images(Dataset[tuple[dict[str, Made], int]]):
    """Decoded images uint8 [N, H, W, C] and what their views are made by, one image at a time."""

    def __init__(
        self, images: NDArray[Any], labels: NDArray[Any], views: Mapping[str, ViewSpec], peer: str, normalise: Any
    ) -> None:
        self.images, self.labels = images, labels
        finish = [transforms.ToTensor(), normalise]
        make = {"lightly": lightly_distortion, "torchvision": torchvision_distortion}[peer]
        self.transforms: dict[str, ToTensor] = {
            name: consistency(view, images.shape[1], finish) or transforms.Compose(finish)
            if numbers is None
            else make(numbers, images.shape[1], finish)
            for name, view, numbers in ((name, view, distortion(view)) for name, view in views.items())
        }
        self.turned = {name for name, view in views.items() if view.make is rotated}
        known = (
            view.make in (identity, rotated) or distortion(view) or consistency(view, 8, finish)
            for view in views.values()
        )
        assert all(known)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[dict[str, Made], int]:
        image = Image.fromarray(self.images[place].squeeze())
        return {name: self._made(name, image) for name in self.transforms}, int(self.labels[place])

    def _made(self, name: str, image: Image.Image) -> Made:
        turns = int(torch.randint(4, ())) if name in self.turned else 0
        return Made(self.transforms[name](image.rotate(90 * turns)), turns)


class Peer:
    """A plain training loop, as the documentation of torchvision or lightly has it.

    workers: processes that make the views.
    """

    def __init__(self, peer: str, method: Method, feed: Feed, workers: int = 0) -> None:
        self.method, self.views = method.train(), method.views()
        self.loss = LOSSES.get(str(feed.spec.method["name"])) if peer == "lightly" else None
        self.optimizer = _optimizer(feed.spec.optimizer, method)
        normalise = transforms.Normalize(feed.arrays.mean.tolist(), feed.arrays.std.tolist())
        pools = {
            "labelled": (feed.arrays.images[feed.labelled], feed.arrays.labels[feed.labelled]),
            "unlabelled": (feed.arrays.unlabelled[feed.unlabelled], feed.unlabelled),
        }
        largest = max(len(pools[stream][0]) for stream in feed.streams)
        self.loaders = {}
        for stream in sorted(feed.streams):
            mine = {name: view for name, view in self.views.items() if view.stream == stream}
            images = Images(*pools[stream], mine, peer, normalise)
            batch = feed.spec.batch_size * (feed.ratio if stream == "unlabelled" else 1)
            samples = batch * feed.steps if feed.spec.steps_per_epoch else largest
            sampler = RandomSampler(images, num_samples=samples)
            self.loaders[stream] = DataLoader(
                images, batch, sampler=sampler, num_workers=workers, persistent_workers=workers > 0
            )

    def batches(self) -> Iterator[dict[str, View]]:
        """Make an epoch's views."""
        for batch in zip(*self.loaders.values(), strict=True):
            views = {}
            for stream, (made, labels) in zip(self.loaders, batch, strict=True):
                known = labels if stream == "labelled" else None
                views |= {name: View(images, known, drawn) for name, (images, drawn) in made.items()}
            yield views

    def train_epoch(self) -> float:
        """Train an epoch and return its summed loss."""
        total = torch.zeros(())
        for views in self.batches():
            self.optimizer.zero_grad()
            outputs: Mapping[str, Tensor] = {}
            if self.loss is None:
                losses = self.method(self._mixing(views), FIRST)
                loss, outputs = losses.total, losses.outputs
            else:
                loss = self.loss(self.method, views)
            loss.backward()
            self.optimizer.step()
            if self.loss is byol:
                update_momentum(self.method.encoder, self.method.target_encoder, m=0.99)
                update_momentum(self.method.projector, self.method.target_projector, m=0.99)
            elif self.loss is None:
                self.method.after_step(FIRST, outputs)
            total += loss.detach()
        return float(total)

    def _mixing(self, views: dict[str, View]) -> dict[str, View]:
        if not hasattr(self.method, "mixing"):
            return views
        lambd = torch.rand(()).expand(len(views["first"].images))
        return {**views, "first": views["first"]._replace(aug_params=lambd)}


def _optimizer(given: settings.OptimizerSettings | None, method: nn.Module) -> Optimizer:
    parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]
    match given:
        case settings.SGD(lr=lr, momentum=momentum, weight_decay=decay):
            return SGD(parameters, lr, momentum, weight_decay=decay)
        case settings.Adam(lr=lr, weight_decay=decay):
            return Adam(parameters, lr, weight_decay=decay)
    raise AssertionError(given)


def _embedded(method: Any, views: Mapping[str, View]) -> tuple[Tensor, Tensor]:
    first, second = (method.projector(method.encoder(views[name].images)) for name in ("first", "second"))
    return first, second


def byol(method: Any, views: Mapping[str, View]) -> Tensor:
    """Return BYOL's loss by lightly's negative cosine similarity."""
    loss = lightly.loss.NegativeCosineSimilarity()
    p1, p2 = (method.predictor(z) for z in _embedded(method, views))
    with torch.no_grad():
        z1, z2 = (method.target_projector(method.target_encoder(views[name].images)) for name in ("first", "second"))
    total: Tensor = 0.5 * (loss(p1, z2) + loss(p2, z1))
    return total


def _simsiam(method: Any, views: Mapping[str, View]) -> Tensor:
    loss = lightly.loss.NegativeCosineSimilarity()
    z1, z2 = _embedded(method, views)
    total: Tensor = 0.5 * (loss(method.predictor(z1), z2.detach()) + loss(method.predictor(z2), z1.detach()))
    return total


LOSSES: dict[str, Callable[[Any, Mapping[str, View]], Tensor]] = {
    "simclr": lambda method, views: lightly.loss.NTXentLoss(method.temperature)(*_embedded(method, views)),
    "barlow_twins": lambda method, views: lightly.loss.BarlowTwinsLoss(method.lambd)(*_embedded(method, views)),
    "vicreg": lambda method, views: lightly.loss.VICRegLoss(method.invariance, method.variance, method.covariance)(
        *_embedded(method, views)
    ),
    "byol": byol,
    "simsiam": _simsiam,
}
