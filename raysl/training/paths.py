"""The paths of a trial's files in a results folder."""

MODEL_SUFFIX = ".safetensors"
EARLIER_MODEL_SUFFIX = ".pt"  # of earlier versions: read, and never written


def model_path(trial_id: str, epoch: int | None = None) -> str:
    """Return the path that a trial's model is written to: the final one, or the one after `epoch` epochs."""
    return _model_path(trial_id, epoch, MODEL_SUFFIX)


def earlier_model_path(trial_id: str, epoch: int | None = None) -> str:
    """Return the path that earlier versions wrote a trial's model to."""
    return _model_path(trial_id, epoch, EARLIER_MODEL_SUFFIX)


def _model_path(trial_id: str, epoch: int | None, suffix: str) -> str:
    return f"models/{trial_id}{suffix}" if epoch is None else f"models/{trial_id}@{epoch}{suffix}"


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
