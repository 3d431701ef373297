"""raysl: hyperparameter search on Ray for image learning with few labels and no validation set.

In Python: `load` and `load_tables` read what to search, `tune` searches, `train` trains one trial, `plan` estimates,
`read` gives the tables of a results folder, `load_model` a model of it, and `export_model` writes one for other
programs. `Observer` is told how a search goes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysl.api.exporting import export_model as export_model
    from raysl.api.loading import load as load
    from raysl.api.loading import load_tables as load_tables
    from raysl.api.models import load_model as load_model
    from raysl.api.observer import Observer as Observer
    from raysl.api.planning import plan as plan
    from raysl.api.training import train as train
    from raysl.api.tuning import tune as tune
    from raysl.errors import SearchError as SearchError
    from raysl.errors import UserError as UserError
    from raysl.results import read as read

__version__ = "0.1.0"

# Imported on first use, so that `import raysl` and `raysl --help` do not wait for pyarrow.
_WHERE = {
    "Observer": "raysl.api.observer",
    "SearchError": "raysl.errors",
    "UserError": "raysl.errors",
    "export_model": "raysl.api.exporting",
    "load": "raysl.api.loading",
    "load_model": "raysl.api.models",
    "load_tables": "raysl.api.loading",
    "plan": "raysl.api.planning",
    "read": "raysl.results",
    "train": "raysl.api.training",
    "tune": "raysl.api.tuning",
}
__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'raysl' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
