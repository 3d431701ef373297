"""Makes batches of images into the views that a method declares, on the device that trains."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raysl.data.augment.attack import attack_of
from raysl.data.augment.transfer import on_device
from raysl.data.augment.views import Draw, identity
from raysl.data.sampling.batches import Batch, epoch_batches, num_steps
from raysl.data.sampling.subsets import fold_numbers, labelled_subset, unlabelled_subset
from raysl.data.storage.decoded_cache import TrainArrays, load
from raysl.methods._method import View, ViewSpec
from raysl.training.spec import TrialSpec

Floats = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Normaliser:
    """uint8 [B, H, W, C] -> float [B, C, H, W] in [0, 1], and from there to zero mean and unit variance per channel."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, arrays: TrainArrays, device: torch.device) -> "Normaliser":
        """Return a normaliser with the mean and standard deviation of each channel over all of D_u."""
        return cls.given(arrays.mean, arrays.std, device)

    @classmethod
    def given(cls, mean: Floats, std: Floats, device: torch.device) -> "Normaliser":
        """Return a normaliser with the mean and standard deviation of each channel."""
        as_tensors = (torch.as_tensor(value, dtype=torch.float32, device=device) for value in (mean, std))
        return cls(*(value.view(1, -1, 1, 1) for value in as_tensors))

    def to_float(self, images: np.ndarray) -> Tensor:
        """Return images on the device, as floats in [0, 1], in the channels-last memory format."""
        return on_device(torch.from_numpy(images), self.mean.device).permute(0, 3, 1, 2).float().div_(255)

    def __call__(self, images: Tensor) -> Tensor:
        if images.is_contiguous():
            return (images - self.mean) / self.std
        # Channels-last images are normalised as lines of all channels: torch takes ten times as long pixel by pixel.
        batch, channels, height, width = images.shape
        lines = images.permute(0, 2, 3, 1).flatten(2)
        mean, std = (value.flatten().repeat(width) for value in (self.mean, self.std))
        return ((lines - mean) / std).view(batch, height, width, channels).permute(0, 3, 1, 2)


class Feed:
    """One trial's labelled and unlabelled images, drawn with its seeds.

    D_l depends on the seed of its stream alone, so every method sees the same one, attacked or not.
    held_out: places of the images of D_l that the trial's fold leaves out of `labelled`; none without a fold. Among the
        unlabelled images they are where they would be without it.
    arrays: images to use instead of those of the trial's data.
    pooled: pooled features of D_l under a frozen backbone, float [N, width] on the device; once they are set, views are
        taken from them instead of from images.
    """

    def __init__(
        self,
        spec: TrialSpec,
        views: Mapping[str, ViewSpec],
        device: torch.device,
        arrays: TrainArrays | None = None,
    ) -> None:
        self.spec, self.views = spec, views
        self.arrays = load(spec.data) if arrays is None else arrays
        shown = None if self.arrays.masks is None else self.arrays.masks.shown
        self.labelled = labelled_subset(
            self.arrays.labels,
            spec.data.labels,
            spec.data.draw,
            spec.stream_seed("labels"),
            spec.data.num_classes,
            shown,
        )
        self.labelled, self.held_out = self._split()
        self.unlabelled = unlabelled_subset(
            len(self.arrays.unlabelled), spec.data.unlabelled, spec.stream_seed("split")
        )
        self.attack = attack_of(spec.data, self.arrays)
        given = spec.model.weights
        self.normalise = (
            Normaliser.of(self.arrays, device)
            if given is None
            else Normaliser.given(given.mean or (), given.std or (), device)
        )
        self.streams = {view.stream for view in views.values()}
        self.pooled: Tensor | None = None

    def _split(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the places of the labelled images that are kept, and of those of the trial's fold."""
        fold = self.spec.fold
        if fold is None:
            return self.labelled, self.labelled[:0]
        numbers = fold_numbers(self.arrays.labels[self.labelled], fold.of, self.spec.stream_seed("labels"))
        return self.labelled[numbers != fold.number], self.labelled[numbers == fold.number]

    @property
    def shows_labelled_images_alone(self) -> bool:
        """Whether all views are labelled images without augmentation, and so the same in every epoch."""
        return all(view == ViewSpec("labelled", identity) for view in self.views.values())

    def labelled_images(self) -> tuple[np.ndarray, np.ndarray]:
        """Return D_l as training sees it, perhaps attacked: images uint8 [N, H, W, C] and labels int64 [N]."""
        return self._attacked(self.labelled), self.arrays.labels[self.labelled]

    def probe_images(self) -> tuple[np.ndarray, np.ndarray]:
        """Return D_l as probes are fitted on it: images uint8 [N, H, W, C] and labels int64 [N]."""
        attack = self.spec.data.attack
        if attack is None or attack.probe == "attacked":
            return self.labelled_images()
        return self.arrays.images[self.labelled], self.arrays.labels[self.labelled]

    def held_out_images(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the images of the trial's fold, never attacked: uint8 [N, H, W, C] and labels int64 [N]."""
        return self.arrays.images[self.held_out], self.arrays.labels[self.held_out]

    @property
    def steps(self) -> int:
        """The number of batches of an epoch."""
        return num_steps(*self._counts, self.spec.batch_size, ratio=self.ratio, steps=self.spec.steps_per_epoch)

    @property
    def ratio(self) -> int:
        """The number of unlabelled images for each labelled one."""
        return self.spec.unlabelled_ratio or 1

    @property
    def _counts(self) -> tuple[int | None, int | None]:
        return (
            len(self.labelled) if "labelled" in self.streams else None,
            len(self.unlabelled) if "unlabelled" in self.streams else None,
        )

    def batches(self, epoch: int, rank: int, world_size: int) -> Iterator[Batch]:
        """Yield this rank's batches of an epoch."""
        return epoch_batches(
            *self._counts,
            self.spec.batch_size,
            seed=self.spec.stream_seed("order"),
            epoch=epoch,
            rank=rank,
            world_size=world_size,
            ratio=self.ratio,
            steps=self.spec.steps_per_epoch,
        )

    def make_views(self, batch: Batch, epoch: int) -> dict[str, View]:
        """Return the views of a batch, by name."""
        if self.pooled is not None:
            rows = on_device(torch.from_numpy(batch.rows["labelled"]), self.pooled.device)
            pooled = View(self.pooled[rows], self._labels("labelled", batch), None)
            return dict.fromkeys(self.views, pooled)
        images = {stream: self.normalise.to_float(self._images(stream, rows)) for stream, rows in batch.rows.items()}
        device = self.normalise.mean.device
        places = {name: on_device(torch.from_numpy(rows), device) for name, rows in batch.rows.items()}
        made = {}
        for name, view in self.views.items():
            positions, size = batch.positions[view.stream], batch.sizes[view.stream]
            draw = Draw(self.spec.stream_seed("augmentation"), epoch, batch.step, name, positions, size)
            seen, drawn = view.make(images[view.stream], draw)
            labels = self._labels(view.stream, batch)
            if labels is not None and view.make_masks is not None:
                again = Draw(self.spec.stream_seed("augmentation"), epoch, batch.step, name, positions, size)
                labels = view.make_masks(labels, again)
            made[name] = View(
                self.normalise(seen), None if labels is None else labels.long(), drawn, places[view.stream]
            )
        return made

    def _images(self, stream: str, rows: np.ndarray) -> np.ndarray:
        if stream == "labelled":
            return self._attacked(self.labelled[rows])
        images: np.ndarray = self.arrays.unlabelled[self.unlabelled[rows]]
        return images

    def _attacked(self, places: np.ndarray) -> np.ndarray:
        images: np.ndarray = self.arrays.images[places]
        return images if self.attack is None else self.attack.on(images, self.arrays.labels[places])

    def _labels(self, stream: str, batch: Batch) -> Tensor | None:
        if stream != "labelled":
            return None
        places = self.labelled[batch.rows["labelled"]]
        targets = self.arrays.labels if self.arrays.masks is None else self.arrays.masks.classes
        return on_device(torch.from_numpy(targets[places]), self.normalise.mean.device)
