"""The plots of a report as inline SVG. Their colours are variables of the page's style sheet."""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING, Any, Callable, Optional

from .packages import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .report import State
    from .summary import Summary

# matplotlib does not support CSS variables: each of these colours is replaced by one.
_INK, _FAINT, _GOOD, _BAD, _DOUBT, _EXTRA = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
_VARIABLES = {
    _INK: "ink",
    _FAINT: "faint",
    _GOOD: "good",
    _BAD: "bad",
    _DOUBT: "doubt",
    _EXTRA: "extra",
}
STATE_COLOURS: dict[State, str] = {"failed": _BAD, "rejected": _EXTRA, "in_doubt": _DOUBT}

_STYLE = {
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "sans-serif",
    "font.size": 8.5,
    "grid.alpha": 0.5,
    "grid.color": _FAINT,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.color": _INK,
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.color": _FAINT,
    "ytick.labelcolor": _INK,
}
_WIDTH, _HEIGHT = 4.7, 2.2  # inches; keeps text legible on a phone
_MOST_BARS = 7
_LONGEST_LABEL = 26
_MINUTE, _HOUR = 60, 3600


def plots_of(summary: Summary) -> list[tuple[str, str]]:
    """Return the plots as pairs of title and SVG.

    Raises:
        ConfigurationError: matplotlib is not installed.

    """
    points, pauses = summary.timeline.points()
    plots: list[tuple[str, str]] = []
    if points:
        unit, size = _unit_of(points[-1].begin + points[-1].seconds)
        edges = [point.begin / size for point in points] + [(points[-1].begin + points[-1].seconds) / size]
        breaks = [pause / size for pause in pauses]

        def over_time(*series: tuple[Sequence[float], str, str]) -> Callable[[Any], None]:
            def draw(axes: Any) -> None:
                base: Optional[list[float]] = None
                for values, colour, label in series:
                    top = list(values) if base is None else [one + two for one, two in zip(base, values)]
                    axes.stairs(top, edges, baseline=base or 0, fill=True, color=colour, alpha=0.85, label=label)
                    base = top
                for place in breaks:
                    axes.axvline(place, color=_INK, linewidth=0.8, linestyle=":")
                axes.set_xlim(edges[0], edges[-1])
                axes.set_ylim(bottom=0)
                axes.set_xlabel(f"{unit} of work" + (" (dotted: a pause, left out)" if breaks else ""))
                if len(series) > 1:
                    _legend(axes)

            return draw

        done = ([point.done for point in points], _GOOD, "done")
        others = ([point.others for point in points], _BAD, "not done")
        has_others = any(others[0])
        plots.append(("Rows a second", _svg("rate", over_time(done, others) if has_others else over_time(done))))
        under_way = ([point.under_way for point in points], _GOOD, "")
        plots.append(("Calls under way", _svg("concurrency", over_time(under_way))))
        if summary.report.tokens:
            tokens = ([point.tokens for point in points], _EXTRA, "")
            plots.append(("Tokens a minute", _svg("tokens", over_time(tokens), thousands=True)))
    if summary.latencies.bars():
        plots.append(("How long answers took", _svg("latency", lambda axes: _draw_latencies(axes, summary))))
    if summary.kinds:
        plots.append(("Failures by kind", _svg("kinds", lambda axes: _draw_kinds(axes, summary))))
    return plots


def _draw_latencies(axes: Any, summary: Summary) -> None:
    bars = summary.latencies.bars()
    axes.bar(
        [begin for begin, _, _ in bars],
        [count for _, _, count in bars],
        width=[end - begin for begin, end, _ in bars],
        align="edge",
        color=_GOOD,
        alpha=0.85,
    )
    if bars[-1][1] > 3 * bars[0][0]:
        axes.set_xscale("log")
    ticker = load("matplotlib.ticker", "plots")
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(_format_seconds))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.xaxis.set_major_locator(_Ticks.of(ticker, bars[0][0], bars[-1][1]))
    for part, label in ((0.5, "median"), (0.95, "95 %")):
        found = summary.latencies.quantile(part)
        if found is not None:
            axes.axvline(found, color=_INK, linewidth=0.9, linestyle="--" if part < 0.9 else ":", label=label)  # noqa: PLR2004 - 0.5 or 0.95
    axes.set_ylabel("rows")
    _legend(axes)


class _Ticks:
    """Places a few ticks at round numbers of a logarithmic axis."""

    @staticmethod
    def of(ticker: Any, low: float, high: float) -> Any:
        """Return a matplotlib locator."""
        digits: list[tuple[int, ...]] = [(1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)]
        places: list[float] = []
        for chosen in digits:
            places = [digit * 10.0**power for power in range(-4, 6) for digit in chosen]
            places = [place for place in places if low <= place <= high]
            if len(places) <= 6:  # noqa: PLR2004 - more labels would overlap
                break
        return ticker.FixedLocator(places if len(places) > 1 else [low, high])


def _draw_kinds(axes: Any, summary: Summary) -> None:
    kinds = summary.kinds[:_MOST_BARS][::-1]
    places = range(len(kinds))
    axes.barh(places, [count for *_, count in kinds], color=[STATE_COLOURS[state] for state, *_ in kinds], alpha=0.85)
    axes.set_yticks(places, [_label(kind) for _, kind, _ in kinds])
    axes.tick_params(axis="y", length=0)
    for place, (*_, count) in zip(places, kinds):
        axes.annotate(f"{count:,}", (count, place), xytext=(3, 0), textcoords="offset points", va="center")
    axes.grid(visible=False)
    axes.margins(x=0.15)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)


def _label(kind: str) -> str:
    # matplotlib's font has few characters. The table below the plots shows the full text.
    text = "".join(character if " " <= character <= "~" else "?" for character in kind)
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 3]}..."


def _legend(axes: Any) -> None:
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2, borderaxespad=0, handlelength=1.2)


def _svg(name: str, draw: Callable[[Any], None], *, thousands: bool = False) -> str:
    """Draw a plot; return the SVG element."""
    style, figures = load("matplotlib.style", "plots"), load("matplotlib.figure", "plots")
    ticker = load("matplotlib.ticker", "plots")
    # Avoid pyplot, which would keep the figure, and ignore the caller's settings.
    with style.context(["default", {**_STYLE, "svg.hashsalt": name}]):
        figure: Any = figures.Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        axes = figure.subplots()
        axes.grid(visible=True, axis="y")
        axes.set_axisbelow(True)
        draw(axes)
        if thousands:
            axes.yaxis.set_major_formatter(ticker.FuncFormatter(_format_short))
        file = io.BytesIO()
        figure.savefig(file, format="svg", transparent=True)
    return _for_page(file.getvalue().decode(), name)


def _for_page(text: str, name: str) -> str:
    """Return only the SVG element, with the page's colour variables and font."""
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    head = rf'<svg \1 role="img" aria-label="{escape(name)}">'
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', head, text, count=1)
    # A page has several plots: remove unused ids, which would otherwise be duplicated.
    used = set(re.findall(r"#([\w-]+)[)\"]", text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    text = re.sub(r"(font: [\d.]+px )[^;\"]*", r"\1system-ui, sans-serif", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return text


def _format_seconds(value: float, _place: int) -> str:
    return seconds_text(value)


def _format_short(value: float, _place: int) -> str:
    return short(value)


def _unit_of(seconds: float) -> tuple[str, int]:
    if seconds < 2 * _MINUTE:
        return "seconds", 1
    return ("minutes", _MINUTE) if seconds < 2 * _HOUR else ("hours", _HOUR)


def seconds_text(seconds: float) -> str:
    """Format a duration, such as `0.25 s` or `3 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 2 * _MINUTE:
        return f"{seconds:.3g} s"
    return f"{seconds / _MINUTE:,.1f} min" if seconds < 2 * _HOUR else f"{seconds / _HOUR:,.1f} h"


def short(number: float) -> str:
    """Format a number with three digits, such as `12.5k`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"
