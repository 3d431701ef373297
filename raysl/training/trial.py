"""One trial, from its spec to its row."""

import logging
import time
from collections.abc import Callable

import numpy as np
import torch

import raysl
from raysl import collectives
from raysl.errors import CheckpointError
from raysl.models.encoder import Encoder
from raysl.probes.linear_svm import cross_validated_accuracy
from raysl.results.rows import Epoch, TrialRow, read_row, write_row
from raysl.results.store import Store
from raysl.training import checkpoint
from raysl.training.feed import Normaliser
from raysl.training.loop import Execution, Loop
from raysl.training.paths import checkpoint_path, model_path
from raysl.training.seal import is_whole
from raysl.training.spec import TrialSpec

log = logging.getLogger(__name__)

FEATURE_BATCH = 256  # images at once when features are taken; in eval mode it changes no number


def run_trial(spec: TrialSpec, store: Store, execution: Execution, report: Callable[[Epoch], None]) -> TrialRow | None:
    """Train a trial on this rank, from its last checkpoint if there is one, and write its model and its row.

    report: called on every rank after every epoch.
    Returns the row on rank 0 and None on others.
    """
    known = read_row(store, spec.id)
    if known is not None and _is_done(known, store):
        return known if collectives.rank() == 0 else None
    loop = _resumed(spec, store, execution)
    saved = time.time()
    wrapped = loop.wrapped()
    while loop.epochs_done < spec.epochs and not loop.diverged:
        epoch = loop.train_epoch(wrapped)
        log.info(
            "epoch %d of %d: loss %.6g, lr %.3g, %.2f s",
            epoch.epoch + 1,
            spec.epochs,
            epoch.loss,
            epoch.lr,
            epoch.seconds,
        )
        if loop.rank == 0 and time.time() - saved >= execution.checkpoint_seconds and loop.epochs_done < spec.epochs:
            loop.save()
            saved = time.time()
        report(epoch)
    return finish(loop) if loop.rank == 0 else None


def _is_done(row: TrialRow, store: Store) -> bool:
    """Return whether nothing is left of a trial to do: a process may die after its row is written."""
    return row.status == "diverged" or (row.status == "finished" and is_whole(store, model_path(row.trial_id)))


def _resumed(spec: TrialSpec, store: Store, execution: Execution) -> Loop:
    """Return a trial's loop, as far as its last checkpoint if every rank could read it."""
    loop = Loop(spec, store, execution)
    if store.exists(checkpoint_path(spec.id)):
        try:
            loop.resume()
        except CheckpointError as error:
            # Starting again gives the same numbers; going on from damage would not.
            log.warning("starts again: %s", error)
            loop = Loop(spec, store, execution)
    done = torch.tensor(float(loop.epochs_done), device=loop.device)
    if float(collectives.mean_over_ranks(done**2) - collectives.mean_over_ranks(done) ** 2) > 0:
        log.warning("starts again: the ranks do not see the same checkpoint")
        return Loop(spec, store, execution)
    if loop.epochs_done:
        log.info("goes on after epoch %d of %d", loop.epochs_done, spec.epochs)
    return loop


def finish(loop: Loop) -> TrialRow:
    """Write a trained trial's model, then its row, then drop its checkpoint, so that no kill in between loses it."""
    spec, store = loop.spec, loop.store
    accuracy, trouble = None, f"non-finite loss in epoch {loop.epochs_done} of {spec.epochs}" if loop.diverged else ""
    if not trouble:
        images, labels = loop.feed.labelled_images()
        features = extract_features(loop.method.encoder, images, loop.feed.normalise)
        # The last step is taken after the last loss was computed.
        trouble = "" if np.isfinite(features).all() else "non-finite features after the last step"
    if not trouble:
        accuracy = cross_validated_accuracy(features, labels, spec.probes.linear_svm, spec.stream_seed("split"))
        checkpoint.save(store, model_path(spec.id), {"id": spec.id, "method": loop.method.state_dict()})
    known = read_row(store, spec.id)
    if known is not None and known.status == "finished":
        # Trained again for its model alone, which had been dropped: the row is written once.
        if known.final_loss != loop.curve[-1].loss:
            log.warning("final loss %r, where its row says %r", loop.curve[-1].loss, known.final_loss)
        store.delete(checkpoint_path(spec.id))
        return known
    row = TrialRow(
        trial_id=spec.id,
        status="diverged" if trouble else "finished",
        reason=trouble,
        method=str(spec.method["name"]),
        seed=spec.seed,
        final_loss=None if trouble else loop.curve[-1].loss,
        probe_accuracy=accuracy,
        epochs=loop.epochs_done,
        num_parameters=sum(p.numel() for p in loop.method.parameters()),
        seconds=sum(epoch.seconds for epoch in loop.curve),
        started_at=loop.started,
        finished_at=time.time(),
        workers=loop.world_size,
        device=_device_name(loop.device),
        raysl_version=raysl.__version__,
        torch_version=str(torch.__version__),
        spec=spec.model_dump_json(),
        curve=tuple(loop.curve),
    )
    write_row(store, row)
    store.delete(checkpoint_path(spec.id))
    return row


def extract_features(encoder: Encoder, images: np.ndarray, normalise: Normaliser) -> np.ndarray:
    """Return the encoder's features, float32 [N, D], of uint8 images [N, H, W, C], in eval mode and in fp32."""
    encoder.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), FEATURE_BATCH):
            batch = normalise(normalise.to_float(np.array(images[start : start + FEATURE_BATCH])))
            parts.append(encoder(batch).float().cpu().numpy())
    return np.concatenate(parts)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
