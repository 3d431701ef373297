"""Where a trial's model and checkpoint lie in a results folder."""


def model_path(trial_id: str) -> str:
    """Return the place of a finished trial's model."""
    return f"models/{trial_id}.pt"


def checkpoint_path(trial_id: str) -> str:
    """Return the place of a half-finished trial's checkpoint."""
    return f"checkpoints/{trial_id}.pt"


def log_path(trial_id: str) -> str:
    """Return the place of a trial's log."""
    return f"logs/{trial_id}.log"
