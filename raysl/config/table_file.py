"""The settings of a table file: a paper's tables, the searches of their cells, and the published numbers."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import Field

from raysl.search.experiment import Name
from raysl.settings import Settings


class Part(Settings):
    """The settings that a table, a row or a column gives its cells.

    title: heading of the table, the row or the column.  experiment: a YAML, relative to the table file's folder.
    stage: the experiment's stage whose selected config gives the number.  data: a data set of the file's profiles.
    set: overrides by dotted key.
    value: whether a number is measured on the test set (`test`), or by the stage's probe on labelled training images
        (`probe`); it is that of the test set if a cell's table, row and column give none.

    Each of a cell's experiment, stage and data is given by exactly one of the cell's table, row and column.
    """

    title: str
    experiment: str | None = None
    stage: str | None = None
    data: str | None = None
    set: dict[str, Any] = Field(default_factory=dict)
    value: Literal["test", "probe"] | None = None


class Scale(Settings):
    """A data set of the tables under a profile of the file.

    profile: of the experiments; None takes none.  set: overrides by dotted key.
    """

    profile: str | None = None
    set: dict[str, Any] = Field(default_factory=dict)


# Mean and standard deviation, in per cent.
Published = Annotated[list[Annotated[float, Ge(0.0), Le(100.0)]], MinLen(1), MaxLen(2)]


class DifferenceSettings(Settings):
    """A column of a table that is computed.

    title: heading of the column.  column: the column from which is subtracted.  less: the column that is subtracted.
    """

    title: str
    column: Name
    less: Name


class TableSettings(Part):
    """One table.

    rows: by name.  columns: by name.  published [%]: by row and column, the printed mean and standard deviation; if it
    is given, it lists all cells, with null if the paper prints no number.
    differences: further columns that are computed from these.
    """

    rows: Annotated[dict[Name, Part], MinLen(1)]
    columns: Annotated[dict[Name, Part], MinLen(1)]
    published: dict[Name, dict[Name, Published | None]] | None = None
    differences: list[DifferenceSettings] = Field(default_factory=list)


Share = Annotated[float, Ge(0.0), Le(1.0)]


class ReportSettings(Settings):
    """The published class report of a cell.

    title: heading of the report.  accuracy: as printed, from 0 to 1.
    classes: precision, recall and F1 of each class, from 0 to 1, by the data set's names of classes.
    """

    title: str
    accuracy: Share
    classes: Annotated[dict[str, Annotated[list[Share], MinLen(3), MaxLen(3)]], MinLen(2)]


class FileSettings(Settings):
    """A table file.

    name: names the results folder.  source: the paper.
    profiles: by name, the scale of each data set of the tables; the first one is the default.
    tables: by name.  class_reports: published class reports by the key of a cell, `table/row/column`.
    """

    name: Name
    source: str
    profiles: Annotated[dict[Name, dict[Name, Scale]], MinLen(1)]
    tables: Annotated[dict[Name, TableSettings], MinLen(1)]
    class_reports: dict[str, ReportSettings] = Field(default_factory=dict)
