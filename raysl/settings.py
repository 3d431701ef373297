"""The manners of every settings model: frozen, strict, and closed to unknown keys."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of the settings that an experiment is made of.

    Strict: `epochs: "30"` is refused rather than converted; an `int` is taken where a `float` is due.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
