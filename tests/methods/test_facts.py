"""What is read of a method's file, and what is refused with its line rather than passed over."""

from pathlib import Path

import pytest
import torch

from raysl import methods
from raysl.errors import MethodError
from raysl.methods import _facts
from raysl.methods._method import ViewSpec
from raysl.methods.rotation import Rotation
from raysl.models.encoder import build_encoder
from raysl.models.settings import ModelSettings

FILE = '''\
"""A method."""

class MyOwn(Method):
    """What it is."""

    streams = ("unlabelled",)
    shapes_loss = ("weight",)

    def __init__(self, encoder, num_classes, *, weight: Annotated[float, Gt(0)] = 1.0, inner: Method) -> None:
        super().__init__(encoder)

    def views(self):
        return {"one": ViewSpec("unlabelled", identity)}

    def forward(self, views):
        return Losses(views["one"].images.mean(), {})
'''
STREAMS = 'streams = ("unlabelled",)'
BROKEN = {
    "annotated": (STREAMS, 'streams: tuple[str, ...] = ("unlabelled",)', 6, "without annotation"),
    "misspelt": (STREAMS, 'stream = ("unlabelled",)', 6, "stream is read by nothing; did you mean 'streams'?"),
    "capitals": (STREAMS, 'STREAMS = ("unlabelled",)', 6, "did you mean 'streams'?"),
    "none": (STREAMS, "", 3, "no `streams = (...)`"),
    "annotated and no value": (STREAMS, "streams: tuple[str, ...]", 6, "without annotation"),
    "computed": (STREAMS, "streams = tuple(BOTH)", 6, "written out; not tuple(BOTH)"),
    "a name in it": (STREAMS, "streams = (UNLABELLED,)", 6, "written out; not (UNLABELLED,)"),
    "a word": (STREAMS, 'streams = ("unlabelled")', 6, "written out; not 'unlabelled'"),
    "a set of lists": (STREAMS, "streams = {[]}", 6, "written out; not {[]}"),
    "a number": (STREAMS, "streams = (1,)", 6, "written out"),
    "in a branch": (STREAMS, 'if True:\n        streams = ("unlabelled",)', 7, "is to stand once"),
    "twice": (STREAMS, f'{STREAMS}\n    streams = ("labelled",)', 7, "is to stand once"),
    "added to": (STREAMS, f'{STREAMS}\n    streams += ("labelled",)', 7, "is to stand once"),
    "two at once": (STREAMS, 'streams = kept = ("unlabelled",)', 6, "is to stand once"),
    "in a pair": (STREAMS, 'streams, kept = ("unlabelled",), 1', 6, "is to stand once"),
    "unknown stream": (STREAMS, 'streams = ("unlabeled",)', 6, "'unlabeled' is none; did you mean 'unlabelled'?"),
    "stream twice": (STREAMS, 'streams = ("unlabelled", "unlabelled")', 6, "stands there twice"),
    "empty": (STREAMS, "streams = ()", 15, "streams is empty"),
    "undeclared view": (STREAMS, 'streams = ("labelled",)', 13, "a view of 'unlabelled', which streams does not name"),
    "undeclared view by name": ('ViewSpec("unlabelled",', 'ViewSpec(stream="labelled", make=', 13, "'labelled'"),
    "shapes_loss misspelt": ("shapes_loss =", "shape_loss =", 7, "did you mean 'shapes_loss'?"),
    "shapes_loss of nothing": ('("weight",)', '("wieght",)', 7, "did you mean 'weight'?"),
    "diagnostics misspelt": (STREAMS, f'{STREAMS}\n    diagnostic = ("one",)', 7, "did you mean 'diagnostics'?"),
    "diagnostics of nobody": (STREAMS, f'{STREAMS}\n    diagnostics = ("one",)', 7, "there is no `diagnose`"),
    "diagnostics computed": (STREAMS, f"{STREAMS}\n    diagnostics = [*ALL]", 7, "written out"),
    "no annotation": ("weight: Annotated[float, Gt(0)] = 1.0", "weight=1.0", 9, "weight has no annotation"),
    "unknown annotation": ("Annotated[float, Gt(0)]", "Tensor", 9, "'Tensor' is not defined"),
    "computed default": ("= 1.0", "= ONE", 9, "ONE is no literal"),
    "positional": ("num_classes, *, weight", "num_classes, kept=1, *, weight", 9, "each by its name"),
    "anything": ("inner: Method)", "inner: Method, **more)", 9, "each by its name"),
    "no init": ("def __init__", "def begin", 3, "no __init__"),
    "other class": ("class MyOwn", "class Myown", 1, "a class MyOwn; did you mean 'Myown'?"),
    "no Python": ("def views(self):", "def views(self)", 12, "no Python"),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_own.py"
    path.write_text(FILE)
    return path


def test_a_file_says_what_its_method_is(file: Path) -> None:
    facts = _facts.read_facts(file)
    assert (facts.name, facts.summary, facts.trains) == ("my_own", "What it is.", True)
    assert {key: default for key, (_, default) in facts.hyperparameters.items()} == {"weight": 1.0, "inner": ...}
    assert (facts.streams, facts.shapes_loss, facts.nested) == (("unlabelled",), ("weight",), ("inner",))


@pytest.mark.parametrize("trouble", BROKEN)
def test_what_would_be_passed_over_is_refused_with_its_line(file: Path, trouble: str) -> None:
    old, new, line, words = BROKEN[trouble]
    assert FILE.count(old) == 1
    file.write_text(FILE.replace(old, new))
    with pytest.raises(MethodError) as refusal:
        _facts.read_facts(file)
    assert str(refusal.value).startswith(f"{file}:{line}: ")
    assert words in str(refusal.value)


def test_a_view_of_a_stream_that_is_not_declared_is_refused_when_the_method_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = build_encoder(ModelSettings(features=16), channels=1, image_size=8)
    methods.build({"name": "rotation"}, encoder, num_classes=3)
    views = Rotation.views

    def computed(method: Rotation) -> dict[str, ViewSpec]:
        return {"labels": ViewSpec("labelled", lambda images, _: (images, torch.zeros(1))), **views(method)}

    monkeypatch.setattr(Rotation, "views", computed)
    with pytest.raises(MethodError, match=r"rotation\.py: views of \['labelled', 'unlabelled'\], and streams has"):
        methods.build({"name": "rotation"}, encoder, num_classes=3)
