import pytest

from raysl.tracking.names import config_names, trial_name


def test_the_key_with_most_values_comes_first() -> None:
    configs = {f"c{n}": {"method.copies": 4.0 if n < 3 else 1.0, "optimizer.lr": 10.0**-n} for n in range(1, 5)}
    assert config_names(configs, "semi") == {
        "c1": "lr=0.1 copies=4",
        "c2": "lr=0.01 copies=4",
        "c3": "lr=0.001 copies=1",
        "c4": "lr=0.0001 copies=1",
    }


def test_numbers_have_six_digits_and_names_are_unlike() -> None:
    names = config_names({"c0": {"lr": 0.1234567}, "c1": {"lr": 0.1234568}, "c2": {"lr": 1e-05}}, "semi")
    assert names == {"c0": "lr=0.123457 c0", "c1": "lr=0.123457 c1", "c2": "lr=1e-05"}


@pytest.mark.parametrize(
    ("config", "name"),
    [("lr=0.001", "lr=0.001 seed=3"), ("lr=0.001 epochs=5", "seed=3 lr=0.001 epochs=5"), ("semi", "semi seed=3")],
)
def test_the_seed_comes_first_where_room_is_short(config: str, name: str) -> None:
    assert trial_name(config, 3) == name


def test_a_config_without_searched_values_is_named_otherwise() -> None:
    assert config_names({"c0": {}}, "semi") == {"c0": "semi"}
    assert config_names({"c0": {"a": 1.0}, "c1": {"b": True, "a": 2.0}}, "semi") == {"c0": "a=1", "c1": "a=2 b=true"}
