"""Short names tell searched keys apart."""

from raysl.results.short_names import short_names


def test_keys_are_cut_to_what_tells_them_apart() -> None:
    assert short_names(["optimizer.lr", "epochs"]) == {"optimizer.lr": "lr", "epochs": "epochs"}
    assert short_names(["method.w", "method.pretext.w"]) == {"method.w": "method.w", "method.pretext.w": "pretext.w"}
    assert short_names(["w", "method.w"]) == {"w": "w", "method.w": "method.w"}
    assert short_names(["optimizer.name", "lr"]) == {"optimizer.name": "optimizer.name", "lr": "lr"}
    assert short_names(["name"]) == {"name": "name"}
