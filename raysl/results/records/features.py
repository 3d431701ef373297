"""Test features of selected trials, and the probe's predictions: an Arrow file per trial.

One row per test image, in the test set's order. Columns: `label` and `predicted` (int64, indices into the class names)
and `features` (fixed_size_list<float32>[D]). The schema's metadata hold the trial, the class names (a JSON list), the
source of the images, and a digest of all of it.
"""

import hashlib
import json
from dataclasses import dataclass
from shlex import quote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raysl.errors import ResultsError
from raysl.results.records.segmented import TABLE, Segmented, encode_masks, parse_masks
from raysl.results.schema import VERSION
from raysl.results.storage.checksums import DAMAGE
from raysl.results.storage.store import Store, warn_damaged

_DIGEST_BYTES = 16


@dataclass(frozen=True, eq=False)
class Features:
    """The features and predictions of a trial for the test set.

    labels, predicted: int64 [N], indices into class_names.  features: float32 [N, D].  source: of the images.
    """

    trial_id: str
    class_names: tuple[str, ...]
    source: str
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    features: NDArray[np.float32]


def features_path(trial_id: str) -> str:
    """Return the path of a trial's test features in a results folder."""
    return f"features/{trial_id}.arrow"


def write_features(store: Store, features: Features) -> None:
    """Write `features/<trial_id>.arrow`, compressed with zstd."""
    num_images, width = features.features.shape
    assert len(features.labels) == len(features.predicted) == num_images, "one row per image"
    flat = pa.array(features.features.reshape(-1), pa.float32())
    columns = [
        pa.array(features.labels, pa.int64()),
        pa.array(features.predicted, pa.int64()),
        pa.FixedSizeListArray.from_arrays(flat, width),
    ]
    names = ("label", "predicted", "features")
    fields = [pa.field(name, column.type, nullable=False) for name, column in zip(names, columns, strict=True)]
    schema = pa.schema(fields, metadata=_metadata(features))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))
    store.write(features_path(features.trial_id), bytes(sink.getvalue()))


def read_features(folder: Store | str, trial_id: str) -> Features:
    """Return a trial's test features, checked against the digest that was written with them.

    folder: a results folder, or its path or URI.
    Raises ResultsError if there is no such folder, the features are missing, damaged or of a later version, or images
    have masks.
    """
    found = _read(folder, trial_id)
    if not isinstance(found, Features):
        raise ResultsError(f"trial {trial_id}: its images have masks, and no test features are kept")
    return found


def _read(folder: Store | str, trial_id: str) -> Features | Segmented:
    store = folder if isinstance(folder, Store) else Store.open(folder, create=False)
    place = store.address(features_path(trial_id))
    command = f"`raysl tune FILE --results {quote(store.address('').rstrip('/'))}`"
    try:
        content = store.read(features_path(trial_id))
    except FileNotFoundError:
        raise ResultsError(
            f"{place}: no test features; they are kept of selected trials, and {command} writes those that are missing"
        ) from None
    try:
        return _parse(content, trial_id)
    except DAMAGE as error:
        raise ResultsError(f"{place}: damaged ({_reason(error)}); {command} writes it anew") from error


def write_kept(store: Store, kept: Features | Segmented) -> None:
    """Write what is kept of a trial's test set, its features or its segmentation, as `features/<trial_id>.arrow`."""
    if isinstance(kept, Features):
        write_features(store, kept)
    else:
        store.write(features_path(kept.trial_id), encode_masks(kept))


def read_masks(folder: Store | str, trial_id: str) -> Segmented:
    """Return a trial's segmentation of the test set, as `read_features` returns features, with its errors."""
    found = _read(folder, trial_id)
    if isinstance(found, Features):
        raise ResultsError(f"trial {trial_id}: its images have classes, and no masks")
    return found


def has_features(store: Store, trial_id: str) -> bool:
    """Return whether what is kept of a trial's test set is there and undamaged (damage is logged, with the path)."""
    path = features_path(trial_id)
    try:
        content = store.read(path)
    except FileNotFoundError:
        return False
    try:
        _parse(content, trial_id)
    except DAMAGE as error:
        warn_damaged(store.address(path), _reason(error))
        return False
    return True


def _metadata(features: Features) -> dict[str, str]:
    return {
        "raysl.schema_version": VERSION.decode(),
        "raysl.table": "features",
        "trial_id": features.trial_id,
        "class_names": json.dumps(features.class_names),
        "source": features.source,
        "digest": _digest(features),
    }


def _parse(content: bytes, trial_id: str) -> Features | Segmented:
    batch = pa.ipc.open_file(pa.BufferReader(content)).get_batch(0)
    batch.validate(full=True)
    metadata = {key.decode(): value.decode() for key, value in (batch.schema.metadata or {}).items()}
    if (version := metadata["raysl.schema_version"]) != VERSION.decode():
        raise ValueError(f"schema version {version!r}; this raysl reads {VERSION.decode()!r}")
    if metadata["raysl.table"] == TABLE:
        return parse_masks(batch, trial_id)
    if metadata["trial_id"] != trial_id:
        raise ValueError(f"holds trial {metadata['trial_id']}")
    lists = batch["features"]
    features = Features(
        trial_id=trial_id,
        class_names=tuple(json.loads(metadata["class_names"])),
        source=metadata["source"],
        labels=batch["label"].to_numpy(),
        predicted=batch["predicted"].to_numpy(),
        features=lists.flatten().to_numpy().reshape(-1, lists.type.list_size),
    )
    if _digest(features) != metadata["digest"]:
        raise ValueError("its digest is not the one written with it")
    return features


def _digest(features: Features) -> str:
    facts = json.dumps([features.trial_id, features.class_names, features.source])
    digest = hashlib.blake2b(facts.encode(), digest_size=_DIGEST_BYTES)
    for array in (features.labels, features.predicted, features.features):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _reason(error: BaseException) -> str:
    return str(error).partition("\n")[0]
