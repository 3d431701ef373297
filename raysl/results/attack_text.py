"""What an attack on the labelled images is called."""

from collections.abc import Mapping
from typing import Any


def attacked_text(data: Mapping[str, Any]) -> str:
    """Return `, NAME attack`, to follow what is attacked; empty where nothing is.

    data: the settings `data` of a stage's record or of a trial.
    """
    text = attack_text(data.get("attack"))
    return f", {text} attack" if text else ""


def attack_text(settings: Any) -> str:
    """Return what attacks the labelled images, and whether in training alone; empty where nothing does.

    settings: `data.attack` of a stage's record or of a trial.
    """
    if not isinstance(settings, dict):
        return str(settings or "")
    others = [str(value) for key, value in settings.items() if key not in ("name", "seed", "probe")]
    alone = ["training-only"] if settings.get("probe") == "clean" else []
    return " ".join([*alone, str(settings.get("name", "")), *others])
