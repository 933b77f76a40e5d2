"""Draw the dashboards from a Prometheus, panel by panel, with their own queries, where no Grafana is at hand.

`python -m grafana.draw http://127.0.0.1:9090 --minutes 60` writes grafana/pictures/*.png. Needs matplotlib.
"""

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

from grafana.query import Dashboard, Json, Line, Prometheus, caption

HERE = Path(__file__).parent
DASHBOARDS = sorted((HERE / "dashboards").glob("*.json"))
PICTURES = HERE / "pictures"

COLUMN, ROW, GAP = 0.66, 0.34, 0.06
"""Inches of the grid's cells, and between panels."""
HEAD = 0.5
DPI = 96
COLOURS = 256
STEPS = 240
MAX_ROWS = 5
"""Of a legend, which names the largest lines."""
LETTER, FIGURES = 0.062, 13
"""Inches of a letter in a legend, and letters of a value with its unit and its mark."""
BRIEF = 300
"""Seconds below which the axis of time shows them."""
PALETTE = (
    *("#5794f2", "#ff9830", "#73bf69", "#f2495c", "#b877d9", "#e0b400", "#8ab8ff", "#ffb357", "#96d98d", "#ff7383"),
    *("#ca95e5", "#37872d", "#e02f44", "#1f60c4", "#8f3bb8", "#fa6400", "#3274d9", "#c4162a", "#56a64b", "#fade2a"),
)
NAMES = {"green": "#37872d", "yellow": "#e0b400", "red": "#c4162a"}
INK, FAINT, PAPER = "#24292e", "#8e8e8e", "#f4f5f5"
SMALL, NORMAL, LARGE = 6.5, 8, 20

mpl.rcParams.update({"font.family": "DejaVu Sans", "font.size": NORMAL, "text.color": INK, "axes.edgecolor": "#d8d9da"})


class Colours:
    """One colour a name, the same in every panel that has names of that kind, which is the legend's template."""

    def __init__(self) -> None:
        self._taken: dict[str, dict[str, str]] = {}

    def of(self, template: str, name: str) -> str:
        """Return the colour of a name, a new one for a new name."""
        taken = self._taken.setdefault(template if "{{" in template else "", {})
        return taken.setdefault(name, PALETTE[len(taken) % len(PALETTE)])


class Named(NamedTuple):
    """A line with its name and colour."""

    name: str
    line: Line
    colour: str


def draw(dashboard: Dashboard, step: float) -> Figure:
    """Draw every panel in its place."""
    cells = [panel["gridPos"] for panel in dashboard.panels]
    width = 24 * COLUMN
    height = HEAD + ROW * max(cell["y"] + cell["h"] for cell in cells)
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER)
    figure.text(GAP / width, 1 - HEAD / 2 / height, dashboard.title, fontsize=13, weight="bold", va="center")
    colours = Colours()
    for panel, cell in zip(dashboard.panels, cells, strict=True):
        top = 1 - (HEAD + ROW * cell["y"] + GAP) / height
        left, right = (COLUMN * cell["x"] + GAP) / width, (COLUMN * (cell["x"] + cell["w"]) - GAP) / width
        size = (ROW * cell["h"] - 2 * GAP) / height
        axes = figure.add_axes((left, top - size, right - left, size))
        axes.set(xticks=[], yticks=[])
        if panel["type"] == "row":
            axes.axis("off")
            axes.text(0, 0.5, f"▾ {panel['title']}", fontsize=10, weight="bold", va="center")
            continue
        inches = (right - left) * width, size * height
        axes.text(0.08 / inches[0], 1 - 0.08 / inches[1], panel["title"], weight="bold", va="top")
        answers = [dashboard.ask(target, step) for target in panel["targets"]]
        DRAWN[panel["type"]](axes, panel, answers, colours)
    return figure


def _inside(axes: Axes, left: float, bottom: float, right: float, top: float) -> Axes:
    """Leave these inches around a plot within a panel."""
    box = axes.get_position()
    width, height = axes.figure.get_size_inches()
    x, y = left / width, bottom / height
    size = box.width - (left + right) / width, box.height - (bottom + top) / height
    return axes.figure.add_axes((box.x0 + x, box.y0 + y, *size))


def _draw_graph(axes: Axes, panel: Json, answers: Sequence[Sequence[Line]], colours: Colours) -> None:
    named = _named(panel, answers, colours)
    ranked = sorted(named, key=lambda each: -_mean(each.line))
    columns = _columns(axes, ranked)
    shown = ranked[: columns * MAX_ROWS]
    rows = math.ceil(len(shown) / columns)
    plot = _inside(axes, 0.62, 0.34 + 0.13 * rows, 0.14, 0.34)
    stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    times = sorted({at for each in named for at, _ in each.line.points})
    dates = [datetime.fromtimestamp(at, UTC) for at in times]
    known = [(each.colour, dict(each.line.points)) for each in named]
    if stacked:
        heights = [[_finite(points.get(at, 0.0)) for at in times] for _, points in known]
        plot.stackplot(dates, heights, colors=[colour for colour, _ in known], alpha=0.75, linewidth=0)
    for colour, points in known if not stacked else ():
        plot.plot(dates, [points.get(at, math.nan) for at in times], color=colour, linewidth=1.1)
    _finish(plot, panel, spread=times[-1] - times[0], stacked=stacked)
    _explain(axes, shown, columns, panel)


def _columns(axes: Axes, named: Sequence[Named]) -> int:
    """Return how many columns a legend has room for."""
    longest = max(len(each.name) for each in named) + FIGURES
    return max(1, min(3, int(axes.bbox.width / DPI / (LETTER * longest))))


def _explain(axes: Axes, named: Sequence[Named], columns: int, panel: Json) -> None:
    """Write a legend below a plot, with the means."""
    width, height = (inches / DPI for inches in axes.bbox.size)
    rows = math.ceil(len(named) / columns)
    format_value = FORMATS[panel["fieldConfig"]["defaults"]["unit"]]
    for at, (name, line, colour) in enumerate(named):
        x, y = 0.1 + at % columns * (width - 0.2) / columns, 0.08 + 0.13 * (rows - 1 - at // columns)
        axes.text(x / width, y / height, "■", color=colour, fontsize=SMALL)
        axes.text((x + 0.12) / width, y / height, f"{name}  {format_value(_mean(line))}", fontsize=SMALL)


def _finish(plot: Axes, panel: Json, *, spread: float, stacked: bool) -> None:
    """Give a plot its axes, and its limits where the values come near them."""
    defaults = panel["fieldConfig"]["defaults"]
    low, high = plot.get_ylim()
    plot.set_ylim(0, defaults.get("max", max(high, low + 1e-9) * (1 if stacked else 1.05)))
    if defaults["custom"]["thresholdsStyle"]["mode"] == "line":
        for step in defaults["thresholds"]["steps"][1:]:
            if step["value"] <= plot.get_ylim()[1] * 1.5:
                plot.axhline(step["value"], color=NAMES[step["color"]], linewidth=0.8, linestyle="--")
    plot.yaxis.set_major_locator(MaxNLocator(5))
    plot.yaxis.set_major_formatter(FuncFormatter(lambda value, _: FORMATS[defaults["unit"]](value)))
    plot.xaxis.set_major_locator(AutoDateLocator(minticks=4, maxticks=9))
    plot.xaxis.set_major_formatter(DateFormatter("%H:%M:%S" if spread < BRIEF else "%H:%M"))
    plot.margins(x=0)
    plot.grid(visible=True, color="#e9eaeb", linewidth=0.6)
    plot.tick_params(labelsize=SMALL, length=0, labelcolor=FAINT)
    for side in ("top", "right", "left"):
        plot.spines[side].set_visible(False)


def _draw_figure(axes: Axes, panel: Json, answers: Sequence[Sequence[Line]], _colours: Colours) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    points = [(at, value) for at, value in answers[0][0].points if math.isfinite(value)]
    value = points[-1][1]
    reached = [step for step in defaults["thresholds"]["steps"] if step["value"] is None or value >= step["value"]]
    colour = NAMES[reached[-1]["color"]]
    words = {name: each["text"] for group in defaults.get("mappings", ()) for name, each in group["options"].items()}
    if panel["options"]["graphMode"] == "area":
        spark = _inside(axes, 0.02, 0.02, 0.02, 0.75)
        spark.axis("off")
        spark.fill_between(
            [at for at, _ in points], [each for _, each in points], color=colour, alpha=0.25, linewidth=0
        )
        spark.plot([at for at, _ in points], [each for _, each in points], color=colour, linewidth=1)
        spark.set_ylim(0, max(each for _, each in points) * 1.1 or 1)
        spark.margins(x=0)
    text = words.get(f"{value:g}", FORMATS[defaults["unit"]](value))
    axes.text(0.5, 0.52, text, fontsize=LARGE, weight="bold", color=colour, ha="center", va="center")


def _draw_bars(axes: Axes, panel: Json, answers: Sequence[Sequence[Line]], colours: Colours) -> None:
    named = _named(panel, answers, colours)[::-1]
    plot = _inside(axes, 1.3, 0.12, 0.55, 0.4)
    values = [each.line.points[-1][1] for each in named]
    names = [each.name for each in named]
    plot.barh(names, [max(values)] * len(values), color="#eceded", height=0.7)
    plot.barh(names, values, color=[each.colour for each in named], height=0.7)
    for at, value in enumerate(values):
        text = FORMATS[panel["fieldConfig"]["defaults"]["unit"]](value)
        plot.text(max(values) * 1.02, at, text, va="center", fontsize=SMALL, weight="bold")
    plot.set(xticks=[], xlim=(0, max(values)))
    plot.tick_params(labelsize=SMALL, length=0)
    for spine in plot.spines.values():
        spine.set_visible(False)


def _draw_table(axes: Axes, panel: Json, answers: Sequence[Sequence[Line]], _colours: Colours) -> None:
    overrides = panel["fieldConfig"]["overrides"]
    units = {each["matcher"]["options"]: each["properties"][0]["value"] for each in overrides}
    columns = [target["legendFormat"] for target in panel["targets"]]
    rows: dict[Sequence[tuple[str, str]], dict[str, float]] = {}
    for column, lines in zip(columns, answers, strict=True):
        for line in lines:
            rows.setdefault(tuple(line.labels.items()), {})[column] = line.points[-1][1]
    keys = list(dict.fromkeys(name for labels in rows for name, _ in labels))
    cells = [
        [*(dict(labels).get(key, "") for key in keys), *(_cell(found.get(each), units[each]) for each in columns)]
        for labels, found in sorted(rows.items(), key=lambda item: -item[1].get(columns[0], 0))
    ]
    plot = _inside(axes, 0.1, 0.1, 0.1, 0.4)
    plot.axis("off")
    table = plot.table(
        cells,
        colLabels=[*keys, *columns],
        bbox=(0, 1 - 0.11 * (len(cells) + 1), 1, 0.11 * (len(cells) + 1)),
        cellLoc="left",
        colLoc="left",
        edges="horizontal",
    )
    table.auto_set_font_size(value=False)
    table.set_fontsize(NORMAL)
    for (line, _), cell in table.get_celld().items():
        cell.set_edgecolor("#e9eaeb")
        if line == 0:
            cell.set_text_props(color="#1f60c4", weight="bold")


DRAWN: Mapping[str, Callable[[Axes, Json, Sequence[Sequence[Line]], Colours], None]] = {
    "timeseries": _draw_graph,
    "stat": _draw_figure,
    "bargauge": _draw_bars,
    "table": _draw_table,
}


def _named(panel: Json, answers: Sequence[Sequence[Line]], colours: Colours) -> list[Named]:
    named = []
    for target, lines in zip(panel["targets"], answers, strict=True):
        template = target["legendFormat"]
        for line in lines:
            name = caption(template, line.labels)
            named.append(Named(name, line, colours.of(template, name)))
    return named


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _mean(line: Line) -> float:
    finite = [value for _, value in line.points if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else 0.0


# -- units -------------------------------------------------------------------------------------------------------------


def _cell(value: float | None, unit: str) -> str:
    return "" if value is None else FORMATS[unit](value)


def _short(value: float) -> str:
    for size, name in ((1e9, " Bil"), (1e6, " Mil"), (1e3, " K")):
        if abs(value) >= size:
            return f"{value / size:.3g}{name}"
    return f"{value:.3g}"


def _seconds(value: float) -> str:
    for size, name in ((3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms")):
        if abs(value) >= size:
            return f"{value / size:.3g} {name}"
    return f"{value / 1e-6:.3g} µs" if value else "0 s"


def _bytes(value: float) -> str:
    for size, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:.3g} B"


FORMATS: Mapping[str, Callable[[float], str]] = {
    "short": _short,
    "none": _short,
    "reqps": lambda value: f"{_short(value)} req/s",
    "ops": lambda value: f"{_short(value)} ops/s",
    "percentunit": lambda value: f"{value * 100:.3g}%",
    "s": _seconds,
    "bytes": _bytes,
}


def save(figure: Figure, file: Path) -> None:
    """Write a picture with as few colours as it needs."""
    figure.savefig(file)
    with Image.open(file) as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


def draw_all(server: Prometheus, *, start: float, end: float, rate_interval: float, into: Path = PICTURES) -> None:
    """Write a picture of each dashboard as it shows this time."""
    step = max(1.0, (end - start) / STEPS)
    for file in DASHBOARDS:
        dashboard = Dashboard(file, server, start=start, end=end, rate_interval=rate_interval)
        save(draw(dashboard, step), into / f"{file.stem}.png")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="the Prometheus that scrapes the gateways")
    parser.add_argument("--minutes", type=float, default=60, help="how far to look back")
    parser.add_argument("--rate-interval", type=float, default=120, help="seconds that a rate looks back")
    chosen = parser.parse_args()
    end = time.time()
    start = end - 60 * chosen.minutes
    draw_all(Prometheus(chosen.url), start=start, end=end, rate_interval=chosen.rate_interval)


if __name__ == "__main__":
    main()
