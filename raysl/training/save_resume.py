"""Writes models and checkpoints of a training, and resumes it."""

from raysl.errors import CheckpointError
from raysl.results.records.rows import Epoch
from raysl.training import checkpoint
from raysl.training.loop import Loop
from raysl.training.model_file import Normalisation, state_of, write_model
from raysl.training.paths import checkpoint_path


def save_model(loop: Loop, epoch: int | None = None) -> None:
    """Write a trial's model: the final one, or that of a milestone."""
    mean, std = (tuple(value.flatten().tolist()) for value in (loop.feed.normalise.mean, loop.feed.normalise.std))
    write_model(loop.store, loop.spec, epoch, state_of(loop.method, Normalisation(mean, std)))


def save_checkpoint(loop: Loop) -> None:
    """Write a trial's checkpoint."""
    state = {
        "id": loop.spec.id,
        "started": loop.started,
        "code": loop.code.digest,
        "method": loop.method.state_dict(),
        "optimizer": loop.optimizer.state_dict(),
        "curve": [[e.epoch, e.lr, e.loss, dict(e.terms), e.seconds] for e in loop.curve],
    }
    checkpoint.save(loop.store, checkpoint_path(loop.spec.id), state)


def resume(loop: Loop) -> None:
    """Set a loop to the state of the last checkpoint.

    Raises CheckpointError if it is damaged, does not fit, or is of other code; the loop cannot be used afterwards.
    """
    path = checkpoint_path(loop.spec.id)
    state = checkpoint.load(loop.store, path)
    if state.get("code", loop.code.digest) != loop.code.digest:
        raise CheckpointError(f"{loop.store.address(path)}: written by other code")
    try:
        loop.method.load_state_dict(state["method"])
        loop.optimizer.load_state_dict(state["optimizer"])
        loop.curve = [Epoch(*entry) for entry in state["curve"]]
        loop.started, loop.resumed_after = float(state["started"]), len(loop.curve)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:  # for example of a version with other parameters
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{loop.store.address(path)}: does not fit this trial: {reason}") from None
