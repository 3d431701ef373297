"""Numbers of a page as text: means with deviations, intervals and durations."""

from raysl.reports.page.html import Html, joined, tag
from raysl.reports.searched import MEASURES
from raysl.reports.stages import Row
from raysl.statistics.intervals import half_width


def spread(config: Row, column: str, *, has_interval: bool) -> Html:
    """Return mean ± standard deviation of a config above the 95 % t interval of the mean; `-` without a mean."""
    mean, std = config[f"{column}_mean"], config.get(f"{column}_std")
    if mean is None:
        return Html("-")
    factor = MEASURES[column].factor
    if std is None or not has_interval:
        return joined([plain_spread(config, column)])
    half = half_width(factor * std, config["num_seeds"])
    ends = [factor * mean + way * half for way in (-1, 1)]
    if factor == 100:
        ends = [min(max(end, 0.0), 100.0) for end in ends]  # no accuracy is beyond
    low, high = (number(end, column) for end in ends)
    return joined(
        [f"{number(factor * mean, column)} ± {number(factor * std, column)}", tag("small", f"{low} to {high}")]
    )


def plain_spread(config: Row, column: str) -> str:
    """Return mean ± standard deviation of a config as text; empty without a mean."""
    mean, std = config[f"{column}_mean"], config.get(f"{column}_std")
    if mean is None:
        return ""
    factor = MEASURES[column].factor
    return number(factor * mean, column) + ("" if std is None else f" ± {number(factor * std, column)}")


def number(value: float, column: str) -> str:
    """Return a value of a column: accuracies in per cent with one decimal, others with 4 digits."""
    return f"{value:.1f}" if MEASURES[column].factor == 100 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Return seconds as `12.3 s`, `4 min 5 s` or `2 h 7 min`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
