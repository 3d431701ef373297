"""The facts about a method, read from its file's text, so that experiments are checked without importing torch."""

import ast
import builtins
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import annotated_types

from raysl.errors import MethodError, choices

NESTED = "Method"  # the annotation of a hyperparameter that is itself a method
STREAMS = ("labelled", "unlabelled")
LEVELS = ("image", "pixel")
CONSTANTS = ("streams", "shapes_loss", "diagnostics", "level")  # of the class, read as literals
FIRST = ["self", "encoder", "num_classes"]  # arguments of `__init__`, before the hyperparameters
WORDS = vars(builtins) | vars(typing) | vars(annotated_types)


@dataclass(frozen=True)
class MethodFacts:
    """The facts about a method in the catalogue.

    explanation: the docstring of its file: source, formulas and choices.
    hyperparameters: name -> (annotation, default); the default is `...` if the hyperparameter is required.
    nested: hyperparameters that are methods themselves, each of unlabelled images alone.
    streams: the streams of its views; empty for a method that trains nothing.
    shapes_loss: hyperparameters that change what the training loss means.
    diagnostics: names of the diagnostics that it can make.
    level: `pixel` if it learns of feature maps, and of masks if images are labelled; else `image`.
    """

    name: str
    summary: str
    explanation: str
    hyperparameters: Mapping[str, tuple[Any, Any]]
    nested: tuple[str, ...]
    streams: tuple[str, ...]
    shapes_loss: tuple[str, ...]
    diagnostics: tuple[str, ...]
    level: str

    @property
    def trains(self) -> bool:
        """Whether it learns from any stream."""
        return bool(self.streams)


def class_name(name: str) -> str:
    """Return the name of the class in a method's file: `barlow_twins` -> `BarlowTwins`."""
    return "".join(word.capitalize() for word in name.split("_"))


def read_facts(path: Path) -> MethodFacts:
    """Return the facts in a method's file.

    Raises MethodError, with the file and the line, for anything that would otherwise be ignored silently: the method
    would train nothing, or lack a hyperparameter.
    """
    try:
        tree = ast.parse(path.read_text())
    except (SyntaxError, ValueError) as error:  # ValueError: not UTF-8, or null bytes
        line, reason = (error.lineno, error.msg) if isinstance(error, SyntaxError) else (1, error)
        raise MethodError(f"{path}:{line}: no Python: {reason}") from None
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    wanted = class_name(path.stem)
    if wanted not in classes:
        raise MethodError(f"{path}:1: the file's name asks for a class {wanted}; {choices(wanted, classes)}")
    return _Reader(path, classes[wanted], ast.get_docstring(tree) or "").facts()


@dataclass(frozen=True)
class _Reader:
    path: Path
    definition: ast.ClassDef
    explanation: str

    def facts(self) -> MethodFacts:
        arguments = self._arguments()
        hyperparameters = dict(self._hyperparameters(arguments))
        self._check_names()
        streams, shapes_loss = self._streams(), self._words("shapes_loss")
        self._check_known("streams", streams, STREAMS)
        self._check_known("shapes_loss", shapes_loss, hyperparameters)
        self._check_views(streams)
        return MethodFacts(
            name=self.path.stem,
            summary=(ast.get_docstring(self.definition) or "").split("\n")[0],
            explanation=self.explanation,
            hyperparameters=hyperparameters,
            nested=tuple(a.arg for a in arguments.kwonlyargs if a.annotation and ast.unparse(a.annotation) == NESTED),
            streams=streams,
            shapes_loss=shapes_loss,
            diagnostics=self._diagnostics(),
            level=self._level(),
        )

    def _refuse(self, node: ast.expr | ast.stmt | ast.arg, trouble: str) -> NoReturn:
        raise MethodError(f"{self.path}:{node.lineno}: {trouble}")

    def _arguments(self) -> ast.arguments:
        found = self._function("__init__")
        if found is None:
            self._refuse(self.definition, f"no __init__; it is to take {', '.join(FIRST)}, *, and hyperparameters")
        given = found.args
        names = [a.arg for a in (*given.posonlyargs, *given.args)]
        if names != FIRST or given.vararg or given.kwarg:
            self._refuse(found, f"__init__ is to take {', '.join(FIRST)}, *, and hyperparameters, each by its name")
        return given

    def _function(self, name: str) -> ast.FunctionDef | None:
        return next((n for n in self.definition.body if isinstance(n, ast.FunctionDef) and n.name == name), None)

    def _hyperparameters(self, arguments: ast.arguments) -> Iterator[tuple[str, tuple[Any, Any]]]:
        for given, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            if given.annotation is None:
                self._refuse(given, f"hyperparameter {given.arg} has no annotation, which says what it may be")
            yield given.arg, (self._annotation(given.arg, given.annotation), self._default(given.arg, default))

    def _annotation(self, name: str, written: ast.expr) -> Any:
        text = ast.unparse(written)
        try:
            return Any if text == NESTED else eval(text, dict(WORDS))  # our own source, not a user's
        except Exception as error:  # whatever evaluating it may raise
            self._refuse(written, f"hyperparameter {name}: {text}: {error}; it may use typing and annotated_types")

    def _default(self, name: str, written: ast.expr | None) -> Any:
        if written is None:
            return ...
        if (value := _literal(written)) is ...:
            self._refuse(written, f"hyperparameter {name}: {ast.unparse(written)} is no literal, as a default is to be")
        return value

    def _check_names(self) -> None:
        """Refuse a misspelt constant, and one that stands where it is not read."""
        read = {id(node.targets[0]) for node in self._constants().values()}
        for target in _assigned(self.definition):
            near = get_close_matches(target.id.lower(), CONSTANTS, n=1, cutoff=0.8)
            if target.id in CONSTANTS and id(target) not in read:
                self._refuse(target, f"{target.id} is to stand once, as `{target.id} = (...)`, without annotation")
            if target.id not in CONSTANTS and near:
                self._refuse(target, f"{target.id} is read by nothing; did you mean {near[0]!r}?")

    def _constants(self) -> dict[str, ast.Assign]:
        """Return the assignments of the form `name = value` in the class's body, by name; the first of each."""
        found: dict[str, ast.Assign] = {}
        for node in self.definition.body:
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                found.setdefault(node.targets[0].id, node)
        return found

    def _words(self, name: str) -> tuple[str, ...]:
        if (node := self._constants().get(name)) is None:
            return ()
        value = _literal(node.value)
        if not isinstance(value, tuple) or not all(isinstance(word, str) for word in value):
            self._refuse(node, f"{name} is to be a tuple of words, written out; not {ast.unparse(node.value)}")
        return value

    def _streams(self) -> tuple[str, ...]:
        if "streams" not in self._constants():
            self._refuse(self.definition, f"no `streams = (...)`, which names the streams of its views: {STREAMS}")
        if not (streams := self._words("streams")) and (forward := self._function("forward")):
            self._refuse(forward, "streams is empty, so that nothing is ever fed to this")
        return streams

    def _level(self) -> str:
        if (node := self._constants().get("level")) is None:
            return "image"
        if (value := _literal(node.value)) not in LEVELS:
            self._refuse(node, f"level is {ast.unparse(node.value)}; choices: {', '.join(LEVELS)}")
        return str(value)

    def _diagnostics(self) -> tuple[str, ...]:
        if (names := self._words("diagnostics")) and self._function("diagnose") is None:
            self._refuse(self._constants()["diagnostics"], "diagnostics names some, and there is no `diagnose`")
        return names

    def _check_known(self, name: str, words: tuple[str, ...], known: Collection[str]) -> None:
        for word in words:
            if word not in known or words.count(word) > 1:
                trouble = "stands there twice" if word in known else f"is none; {choices(word, known)}"
                self._refuse(self._constants()[name], f"{name}: {word!r} {trouble}")

    def _check_views(self, streams: tuple[str, ...]) -> None:
        calls = (node for node in ast.walk(self.definition) if isinstance(node, ast.Call))
        for node in calls:
            if ast.unparse(node.func) == "ViewSpec":
                given = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "stream")]
                for word in (_literal(stream) for stream in given):
                    if isinstance(word, str) and word not in streams:
                        self._refuse(node, f"a view of {word!r}, which streams does not name: {streams}")


def _literal(written: ast.expr) -> Any:
    """Return a literal's value; `...` for anything else."""
    try:
        return ast.literal_eval(written)
    except (ValueError, TypeError):
        return ...


def _assigned(definition: ast.ClassDef) -> Iterator[ast.Name]:
    """Yield the names assigned in a class's body, in branches and loops too, but not in its functions."""
    waiting: list[ast.AST] = list(definition.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))
