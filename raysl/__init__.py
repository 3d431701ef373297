"""raysl: hyperparameter search on Ray for image learning with few labels and no validation set."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysl.results import read as read

__version__ = "0.1.0"
__all__ = ["__version__", "read"]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `raysl --help` does not wait for pyarrow.
    if name == "read":
        from raysl.results import read

        return read
    raise AttributeError(f"module 'raysl' has no attribute {name!r}")
