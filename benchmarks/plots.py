"""Draw the plots of docs/performance.md from performance.json, and write the tables beside them.

After a new measurement, put the numbers into performance.json and run `python benchmarks/plots.py`; see README.md.

A row has one value for each column: a number, a range `[low, high]`, or null. The SVG is written here, without a
library, so that the same numbers always make the same files.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Union
from xml.sax.saxutils import escape

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"

Value = Union[float, list[float], None]
Table = dict[str, Any]

# Drawn narrow, so that the text can be read on a phone. An image has the colour scheme of its page.
WIDTH, MARGIN, ROW = 420, 12, 38
STYLE = """
text { fill: #37474f; font: 13px system-ui, sans-serif; }
.small { fill: #607d8b; font-size: 12px; }
.grid { stroke: #b0bec5; stroke-width: 0.5; }
.one { stroke: #37474f; stroke-width: 1.5; }
.c0 { fill: #5c7cfa; } .c1 { fill: #f76707; } .c2 { fill: #2f9e44; } .c3 { fill: #ae3ec9; }
@media (prefers-color-scheme: dark) {
text { fill: #cfd8dc; }
.small { fill: #90a4ae; }
.grid { stroke: #546e7a; }
.one { stroke: #cfd8dc; }
}
"""


def main() -> None:
    for path, text in made().items():
        path.write_text(text, "utf-8")


def made() -> dict[Path, str]:
    """Return the files that follow from the measurements, with their content."""
    data = json.loads((HERE / "performance.json").read_text("utf-8"))
    page = (DOCS / "performance.md").read_text("utf-8")
    page = with_plot(page, "httpx", alt_of_httpx(data["httpx"]), "CPU time, plain httpx = 1", data["httpx"])
    page = with_plot(page, "clients", alt_of_clients(data["clients"]), "CPU time, in µs", data["clients"])
    images = DOCS / "images"
    return {
        DOCS / "performance.md": page,
        images / "performance-httpx.svg": plot_httpx(data["httpx"]),
        images / "performance-clients.svg": plot_clients(data["clients"]),
    }


# --- The page --------------------------------------------------------------------------------------------------------


def with_plot(page: str, name: str, alt: str, head: str, table: Table) -> str:
    """Replace what the page has between the comments of a plot: the image and its numbers."""
    image = f"![{alt}](images/performance-{name}.svg){{ .plot }}"
    numbers = f"<details markdown>\n<summary>The numbers</summary>\n\n{markdown(head, table)}\n\n</details>"
    begin, end = f"<!-- benchmarks/plots.py: {name} -->\n", "\n<!-- end -->"
    content = f"{begin}\n{image}\n\n{numbers}\n{end}"
    page, count = re.subn(f"{re.escape(begin)}.*?{end}", lambda _: content, page, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"docs/performance.md has {count} places for the plot {name}, not one")
    return page


def markdown(head: str, table: Table) -> str:
    rows = [[head, *table["columns"]], ["---", *["---:"] * len(table["columns"])]]
    rows += [[name, *map(number, values)] for name, values in table["rows"].items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def alt_of_httpx(table: Table) -> str:
    ours = {name: values[0] for name, values in table["rows"].items()}
    lowest, highest = min(map(low, ours.values())), max(map(high, ours.values()))
    less = sum(high(value) < 1 for value in ours.values())
    return (
        f"This package takes {lowest:.2f} to {highest:.2f} of the CPU time of plain httpx, "
        f"and less than httpx for {less} of {len(ours)} kinds of work."
    )


def alt_of_clients(table: Table) -> str:
    ours, *others = table["columns"]
    times = [
        f"{client} {min(found):.2g} to {max(found):.2g} times" for client, found in zip(others, ratios(table).values())
    ]
    return f"CPU time compared with {ours}: {', '.join(times)} as much."


# --- The plots -------------------------------------------------------------------------------------------------------


def plot_httpx(table: Table) -> str:
    """Draw a bar for each row, with its range."""
    highest = max(1.1, *(high(ours) for (ours,) in table["rows"].values()))

    def x_of(value: float) -> float:
        return MARGIN + value / highest * (WIDTH - 2 * MARGIN)

    drawn = []
    for (ours,), y in zip(table["rows"].values(), tops(table)):
        drawn.append(bar(x_of(0), x_of(high(ours)), y, 'class="c0" opacity="0.45"'))
        drawn.append(bar(x_of(0), x_of(low(ours)), y, 'class="c0"'))
    ticks = {f"{tick:g}": x_of(tick) for tick in (0, 0.25, 0.5, 0.75, 1)}
    return svg(table, ["plain httpx", *table["columns"]], ticks, drawn)


def plot_clients(table: Table) -> str:
    """Draw a mark for each client in each row, on a logarithmic scale."""
    found = [ratio for values in ratios(table).values() for ratio in values]
    lowest, highest = math.log(min(found) / 1.2), math.log(max(found) * 1.2)

    def x_of(value: float) -> float:
        return MARGIN + (math.log(value) - lowest) / (highest - lowest) * (WIDTH - 2 * MARGIN)

    drawn = []
    for (ours, *others), y in zip(table["rows"].values(), tops(table)):
        places = {kind: x_of(high(other) / high(ours)) for kind, other in enumerate(others, 1) if other is not None}
        drawn.append(f'<path class="grid" d="M{min(x_of(1), *places.values()):.1f} {y}H{max(places.values()):.1f}"/>')
        drawn += [mark(kind, x, y) for kind, x in places.items()]
    ticks = {f"{tick:g}": x_of(tick) for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)}
    ticks = {text: x for text, x in ticks.items() if 0 <= x <= WIDTH}
    first, *others = table["columns"]
    return svg(table, [first, "", *others], ticks, drawn)


def svg(table: Table, legend: list[str], ticks: dict[str, float], drawn: list[str]) -> str:
    """Return the file: what is drawn, over the name and the grid of each row, which has a thicker line at 1.

    The legend has the name of that line, of the bars (or an empty string), and of the marks.
    """
    lines = []
    for name, y in zip(table["rows"], tops(table)):
        lines.append(words(MARGIN, y - 12, name.partition(", in ")[0]))
        lines += [f'<path class="{"one" if text == "1" else "grid"}" d="{line(x, y)}"/>' for text, x in ticks.items()]
    height = max(tops(table)) + 36
    lines += [words(x, height - 8, text, 'class="small" text-anchor="middle"') for text, x in ticks.items()]
    x = MARGIN
    for kind, name in enumerate(legend, -1):
        if name:
            signs = {-1: f'<path class="one" d="{line(x + 4, 16)}"/>', 0: bar(x - 2, x + 10, 16, 'class="c0"')}
            lines += [signs.get(kind) or mark(kind, x + 4, 16), words(x + 16, 20, name)]
            x += 32 + 7 * len(name)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    body = "\n".join([*lines, *drawn])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n{body}\n</svg>\n'


def tops(table: Table) -> list[int]:
    """Return the height of the middle of each row's bar or marks."""
    return [68 + at * ROW for at in range(len(table["rows"]))]


def line(x: float, y: int) -> str:
    return f"M{x:.1f} {y - 8}V{y + 8}"


def words(x: float, y: int, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y}" {more}>{escape(text)}</text>'.replace(" >", ">")


def bar(begin: float, end: float, y: int, more: str) -> str:
    return f'<rect x="{begin:.1f}" y="{y - 5}" width="{end - begin:.1f}" height="10" {more}/>'


def mark(kind: int, x: float, y: int) -> str:
    """Draw the mark of a column: a square, a circle or a triangle, so that it does not depend on the colour."""
    paths = {1: "M-5 -5H5V5H-5Z", 2: "M-5.5 0A5.5 5.5 0 1 0 5.5 0A5.5 5.5 0 1 0 -5.5 0Z", 3: "M0 -6L6 5H-6Z"}
    return f'<path class="c{kind}" transform="translate({x:.1f} {y})" d="{paths[kind]}"/>'


# --- Numbers ---------------------------------------------------------------------------------------------------------


def ratios(table: Table) -> dict[str, list[float]]:
    """Return the CPU time of each other client over ours, in each row that it has."""
    rows = table["rows"].values()
    return {
        client: [high(row[at]) / high(row[0]) for row in rows if row[at] is not None]
        for at, client in enumerate(table["columns"][1:], 1)
    }


def low(value: Union[float, list[float]]) -> float:
    return value[0] if isinstance(value, list) else value


def high(value: Union[float, list[float]]) -> float:
    return value[-1] if isinstance(value, list) else value


def number(value: Value) -> str:
    """Format a value for a table: ratios with two digits, and ranges as words."""
    if value is None:
        return "-"
    if isinstance(value, list):
        return " to ".join(map(number, value))
    return f"{value:.2f}" if value < 2 else f"{value:,}"


if __name__ == "__main__":
    main()
