"""The paths of a trial's files in a results folder."""


def model_path(trial_id: str, epoch: int | None = None) -> str:
    """Return the path of a trial's model: the final one, or the one after `epoch` epochs."""
    return f"models/{trial_id}.pt" if epoch is None else f"models/{trial_id}@{epoch}.pt"


def checkpoint_path(trial_id: str) -> str:
    """Return the path of an unfinished trial's checkpoint."""
    return f"checkpoints/{trial_id}.pt"


def log_path(trial_id: str) -> str:
    """Return the path of a trial's log."""
    return f"logs/{trial_id}.log"


COHORT_SUFFIX = ".json"


def cohort_folder(name: str) -> str:
    """Return the folder of the losses of a cohort."""
    return f"races/{name}"


def cohort_path(name: str, trial_id: str) -> str:
    """Return the path of the losses of one trial of a cohort."""
    return f"{cohort_folder(name)}/{trial_id}{COHORT_SUFFIX}"
