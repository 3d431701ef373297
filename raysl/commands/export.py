"""`raysl export`."""

from pathlib import Path

from raysl.api.exporting import export_model
from raysl.console.screen import screen


def export(
    results: str, form: str, stage: str | None, config: str, seed: int, epoch: int | None, output: Path | None
) -> None:
    """Write a trained model for other programs, and say how it is loaded."""
    found = export_model(results, form, stage, config, seed, epoch, output)
    console = screen()

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    size = found.image_size
    mean, std = (", ".join(f"{value:.6g}" for value in values) for values in (found.mean, found.std))
    say(f"wrote {found.path} ({found.path.stat().st_size / 1e6:.3g} MB): {found.method}, {found.backbone}")
    say(f"input: images in [0, 1], [N, {found.channels}, {size}, {size}], minus mean {mean}, divided by std {std}")
    if found.left_out:
        say(f"left out, for the library's network has no place for it: {', '.join(found.left_out)}")
    if found.missing:
        say(f"missing: the classifier of the library's network ({', '.join(found.missing)})")
    if found.lines:
        say("to load it:")
    for line in found.lines:
        say(f"    {line}")
