"""Imports go one way: every module imports only its own layer's package and those below."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

import raysl

ROOT = Path(raysl.__file__).parent
LAYERS = [
    {"__main__"},
    {"cli"},
    {"commands"},
    {"reports"},
    {"console"},
    {"api"},
    {"config"},
    {"launch"},
    {"search"},
    {"training"},
    {"methods"},
    {"models", "data", "probes", "criteria"},
    {"collectives"},
    {"tracking"},
    {"results"},
    {"statistics"},
    {"settings"},
    {"plain_yaml"},
    {"sources"},
    {"errors"},
    {"outgoing"},
]
# Within a package, in the same order; its other modules stand below all of these.
INNER_LAYERS = {
    "reports": [{"page"}],
    "launch": [{"driver"}, {"runtime"}, {"cluster"}, {"coordination"}],
    "data": [{"augment"}, {"registry", "sampling", "storage"}],
    "results": [{"tables"}, {"records"}, {"storage"}],
}
FORBIDDEN = {
    "api": {"ray", "mlflow", "rich", "typer"},
    "search": {"ray", "torch", "mlflow"},
    "config": {"ray", "torch", "mlflow"},
    "results": {"ray", "torch", "mlflow"},
    "training": {"ray", "mlflow", "yaml"},
    "methods": {"ray", "mlflow", "yaml"},
    "models": {"ray", "mlflow", "yaml"},
    "data": {"ray", "mlflow", "yaml"},
    "probes": {"ray", "torch", "mlflow", "yaml"},
    "criteria": {"ray", "torch", "mlflow", "yaml"},
    "tracking": {"ray", "torch"},
    "reports": {"ray", "torch", "mlflow"},
    "outgoing": {"ray", "torch", "mlflow", "pyarrow", "rich"},
}
REPORTS = sorted((ROOT / "reports").rglob("*.py"))
REPORTS_MAY_USE = {
    "raysl.__version__",
    "raysl.reports",
    "raysl.results",
    "raysl.statistics",
    "raysl.errors",
    "raysl.search.rules",
    "raysl.console.output",
    "raysl.outgoing",
}
ANALYSIS = sorted((ROOT.parent / "analysis").glob("*.py"))


def layer(package: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if package in names)


def inner_layer(module: str) -> int:
    """Return the layer of `raysl.PACKAGE.MODULE` or `raysl.PACKAGE.SUBPACKAGE.MODULE` within its package."""
    _, package, *rest = module.split(".")
    layers = INNER_LAYERS[package]
    return next((i for i, names in enumerate(layers) if rest and rest[0] in names), len(layers))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            found |= {f"raysl.{alias.name}" for alias in node.names} if module == "raysl" else {module}
    return frozenset(found)


def package_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0].removesuffix(".py")


MODULES = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards(path: Path) -> None:
    own = package_of(path)
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "raysl" and rest and rest[0] != "__version__":
            below = rest[0]
            assert below == own or layer(below) > layer(own), f"{own} imports {name}"
        assert top not in FORBIDDEN.get(own, set()), f"{own} imports {name}"


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if package_of(path) in INNER_LAYERS],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_imports_go_downwards_within_a_package(path: Path) -> None:
    if path.name == "__init__.py" and path.parent.parent == ROOT:
        return  # it is where a package's names are found
    own = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
    for name in imports(path):
        if name.startswith(f"raysl.{package_of(path)}."):
            assert inner_layer(name) >= inner_layer(own), f"{own} imports {name}"


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_reports_are_made_from_results_alone(path: Path) -> None:
    for name in imports(path):
        assert name.partition(".")[0] not in {"torch", "ray", "mlflow"}, f"{path.name} imports {name}"
        if name.partition(".")[0] == "raysl":
            assert any(f"{name}.".startswith(f"{known}.") for known in REPORTS_MAY_USE), f"{path.name} imports {name}"


@pytest.mark.parametrize("path", ANALYSIS, ids=lambda path: path.name)
def test_analysis_only_calls_reports(path: Path) -> None:
    assert all(name.startswith("raysl.reports.") for name in imports(path)), f"{path.name}: {imports(path)}"


def test_reports_load_neither_torch_nor_ray() -> None:
    import subprocess

    names = [".".join(path.relative_to(ROOT.parent).with_suffix("").parts) for path in REPORTS]
    names += [f"analysis.{path.stem}" for path in ANALYSIS]
    assert {"analysis.audit", "raysl.reports.audit"} <= set(names)
    code = f"import sys, {', '.join(names)}; print([m for m in ('torch', 'ray', 'mlflow') if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert printed.stdout == "[]\n"


def test_only_launch_imports_ray() -> None:
    users = {package_of(path) for path in MODULES if any(name.split(".")[0] == "ray" for name in imports(path))}
    assert users == {"launch"}


def test_neither_the_driver_nor_its_leases_import_ray() -> None:
    folders = {path.parent.name for path in MODULES if any(name.split(".")[0] == "ray" for name in imports(path))}
    assert folders == {"cluster", "runtime"}


def test_every_package_has_its_layer() -> None:
    packages = {package_of(path) for path in MODULES}
    assert packages == set.union(*LAYERS)
    inner = {path.parts[-3:-1] for path in MODULES if path.parents[2] == ROOT}
    assert inner == {(package, name) for package, layers in INNER_LAYERS.items() for name in set.union(*layers)}


def test_command_line_starts_without_the_heavy_imports() -> None:
    import subprocess

    code = (
        "import sys, raysl.cli; print([m for m in ('torch', 'ray', 'mlflow', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def own_imports(path: Path) -> set[str]:
    return {name for name in imports(path) if name.split(".")[0] == "raysl"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_fits_one_head(path: Path) -> None:
    """At most 15 of raysl's modules are imported, files have fewer than 300 lines, and functions fewer than 40."""
    assert len(own_imports(path)) <= 15
    text = path.read_text()
    assert text.count("\n") < 300
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node) is not None
            first = node.body[1].lineno if documented and len(node.body) > 1 else node.lineno
            signature = node.body[0].lineno - node.lineno
            lines = (node.end_lineno or 0) - first + 1 + (signature if documented else 0)
            assert lines < 40, f"{node.name}: {lines} lines without its docstring"
