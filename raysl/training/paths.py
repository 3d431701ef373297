"""Where a trial's model and checkpoint lie in a results folder."""


def model_path(trial_id: str, epoch: int | None = None) -> str:
    """Return the place of a trial's model: of the finished trial, or as it was after so many epochs."""
    return f"models/{trial_id}.pt" if epoch is None else f"models/{trial_id}@{epoch}.pt"


def checkpoint_path(trial_id: str) -> str:
    """Return the place of a half-finished trial's checkpoint."""
    return f"checkpoints/{trial_id}.pt"


def log_path(trial_id: str) -> str:
    """Return the place of a trial's log."""
    return f"logs/{trial_id}.log"


COHORT_SUFFIX = ".json"


def cohort_folder(name: str) -> str:
    """Return the place of the losses that trials of a stage and a seed compare."""
    return f"races/{name}"


def cohort_path(name: str, trial_id: str) -> str:
    """Return the place of one trial's losses among them."""
    return f"{cohort_folder(name)}/{trial_id}{COHORT_SUFFIX}"
