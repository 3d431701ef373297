"""What is kept of a segmentation of the test set: its confusion matrix, and some images with their masks.

An Arrow file per trial, in the place of its test features: one row per image, with `place` (int64, in the set), and
`image`, `truth` and `predicted` (binary: PNGs). The schema's metadata hold the trial, the class names and the confusion
matrix (JSON), the source of the images, and a digest of all of it.
"""

import hashlib
import json
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from raysl.results.confusion import mean_iou
from raysl.results.schema import VERSION

TABLE = "masks"
_DIGEST_BYTES = 16

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Segmented:
    """A trial's segmentation of the test set.

    confusion: int64 [K, K], pixels by class (rows) and by the class that they are taken for.
    places: int64 [P], of the images that are kept, from the best to the worst.
    images: uint8 [P, H, W, C].  truths, predicted: uint8 [P, H, W].
    """

    trial_id: str
    class_names: tuple[str, ...]
    source: str
    confusion: NDArray[np.int64]
    places: NDArray[np.int64]
    images: Pixels
    truths: Pixels
    predicted: Pixels

    @classmethod
    def empty(cls, trial_id: str, class_names: tuple[str, ...], source: str) -> "Segmented":
        """Return what is kept of a trial that segments nothing."""
        none = np.zeros((0, 1, 1), np.uint8)
        size = len(class_names)
        places = np.zeros(0, np.int64)
        confusion = np.zeros((size, size), np.int64)
        return cls(trial_id, class_names, source, confusion, places, none[..., None], none, none)


def shown_places(confusions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of the images with the best, the median and the worst mean IoU, each once: int64 [P].

    confusions: int64 [N, K, K], of each image.
    """
    order = np.argsort([-mean_iou(one) for one in confusions], kind="stable")
    ends = dict.fromkeys([0, len(order) // 2, len(order) - 1]) if len(order) else {}
    return np.asarray(order[list(ends)], np.int64)


def encode_masks(kept: Segmented) -> bytes:
    """Return the Arrow file of a segmentation."""
    columns = {
        "place": pa.array(kept.places, pa.int64()),
        "image": pa.array([_png(image) for image in kept.images], pa.binary()),
        "truth": pa.array([_png(mask) for mask in kept.truths], pa.binary()),
        "predicted": pa.array([_png(mask) for mask in kept.predicted], pa.binary()),
    }
    facts = _facts(kept)
    metadata = {"raysl.schema_version": VERSION.decode(), "raysl.table": TABLE, **facts, "digest": _digest(kept, facts)}
    fields = [pa.field(name, column.type, nullable=False) for name, column in columns.items()]
    schema = pa.schema(fields, metadata=metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch(list(columns.values()), schema=schema))
    return bytes(sink.getvalue())


def parse_masks(batch: pa.RecordBatch, trial_id: str) -> Segmented:
    """Return the segmentation of a file's record batch, checked against the digest that was written with it.

    Raises ValueError, KeyError or what pyarrow and Pillow raise where it is damaged.
    """
    metadata = {key.decode(): value.decode() for key, value in (batch.schema.metadata or {}).items()}
    if metadata["trial_id"] != trial_id:
        raise ValueError(f"holds trial {metadata['trial_id']}")
    columns = {name: batch[name].to_pylist() for name in ("image", "truth", "predicted")}
    images, truths, predicted = (_stacked([_pixels(png) for png in pngs]) for pngs in columns.values())
    kept = Segmented(
        trial_id=trial_id,
        class_names=tuple(json.loads(metadata["class_names"])),
        source=metadata["source"],
        confusion=np.array(json.loads(metadata["confusion"]), np.int64),
        places=batch["place"].to_numpy(),
        images=images if images.ndim == 4 else images[..., None],
        truths=truths,
        predicted=predicted,
    )
    if _digest(kept, _facts(kept)) != metadata["digest"]:
        raise ValueError("its digest is not the one written with it")
    return kept


def _facts(kept: Segmented) -> dict[str, str]:
    return {
        "trial_id": kept.trial_id,
        "class_names": json.dumps(kept.class_names),
        "source": kept.source,
        "confusion": json.dumps(kept.confusion.tolist()),
    }


def _digest(kept: Segmented, facts: dict[str, str]) -> str:
    digest = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=_DIGEST_BYTES)
    for array in (kept.places, kept.images, kept.truths, kept.predicted):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _stacked(pictures: list[Pixels]) -> Pixels:
    return np.stack(pictures) if pictures else np.zeros((0, 1, 1), np.uint8)


def _png(pixels: Pixels) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _pixels(png: bytes) -> Pixels:
    return np.asarray(Image.open(BytesIO(png), formats=("PNG",)))
