"""Result rows, records and tables: one file per fact, written once, atomically (the truth).

Torch-free. `raysl.read(FOLDER)` gives the four published tables of a results folder.
"""

from raysl.results.tables.build import Tables, read

__all__ = ["Tables", "read"]
