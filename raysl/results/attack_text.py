"""What an attack on the labelled images is called."""

from typing import Any


def attack_text(settings: Any) -> str:
    """Return what attacks the labelled images, and whether in training alone; empty where nothing does.

    settings: `data.attack` of a stage's record or of a trial.
    """
    if not isinstance(settings, dict):
        return str(settings or "")
    others = [str(value) for key, value in settings.items() if key not in ("name", "seed", "probe")]
    alone = ["training-only"] if settings.get("probe") == "clean" else []
    return " ".join([*alone, str(settings.get("name", "")), *others])
