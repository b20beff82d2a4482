"""Format measurements as tables: medians with quartiles, ratios to the rival, and targets."""

from __future__ import annotations

import json
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, Optional

from scenarios import CLIENTS, TARGETS, Scenario, Target

if TYPE_CHECKING:
    from pathlib import Path

Rounds = list[dict[str, float]]
Results = dict[str, dict[str, Rounds]]

SCALES = {"": 1.0, "µs": 1e6, "ms": 1e3, "KB": 1e-3, "MB": 1e-6}
FLOOR = "raw_httpx"


def write_report(out: Path, chosen: list[Scenario], results: Results, about: dict[str, Any]) -> str:
    """Write `results.json` and `results.md`; return the report as text."""
    targets = [found for found in (judge(target, results) for target in TARGETS) if found]
    whole = {**about, "targets": targets, "results": results}
    (out / "results.json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", "utf-8")
    page = "\n\n".join(
        [
            "# Measurements",
            f"Python {about['python']}, {about['system']}, {about['seconds']} s.",
            *(["\n".join(f"* {note}" for note in about["notes"])] if about["notes"] else []),
            targets_table(targets),
            *(scenario_table(scenario, results[scenario.name]) for scenario in chosen),
            versions_table(about["versions"]),
        ]
    )
    (out / "results.md").write_text(page + "\n", "utf-8")
    return f"\n{page}\n\nWritten to {out}/results.md and results.json."


# --- Figures ---------------------------------------------------------------------------------------------------------


def spread(values: list[float]) -> tuple[float, float, float]:
    """Return the median and the quartiles around it."""
    low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return median(values), low, high


def ratios(rounds: Rounds, rival: Rounds, figure: str = "cpu") -> list[float]:
    """Compare round by round, because a disturbance of the machine affects both clients."""
    return [ours[figure] / theirs[figure] for ours, theirs in zip(rounds, rival) if theirs[figure]]


def judge(target: Target, results: Results) -> Optional[dict[str, Any]]:
    """Return the result for a target, or None if it was not measured."""
    values = _figures(target.of, results)
    other = target.over or target.less
    others = _figures(other, results) if other else values
    if not values or not others:
        return None
    if target.over:
        paired = target.of[0] == target.over[0]
        reached = [one / two for one, two in zip(values, others)] if paired else [median(values) / median(others)]
    elif target.less:
        reached = [(one - two) * SCALES[target.unit] for one, two in zip(values, others)]
    else:
        reached = [value * SCALES[target.unit] for value in values]
    middle, low, high = spread(reached)
    found = {"what": target.what, "unit": target.unit, "at_most": target.at_most, "reached": middle}
    return {**found, "quartiles": [low, high], "is_met": middle <= target.at_most}


def _figures(of: tuple[str, str, str], results: Results) -> list[float]:
    scenario, client, figure = of
    return [figures[figure] for figures in results.get(scenario, {}).get(client, [])]


# --- Tables ----------------------------------------------------------------------------------------------------------


def table(heads: list[str], rows: list[list[str]], others: str = "---:") -> str:
    """Return a Markdown table. The first column is aligned to the left, the others as `others` says."""
    rule = ["---", *[others] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, rule, *rows])


def targets_table(targets: list[dict[str, Any]]) -> str:
    rows = []
    for found in targets:
        unit = f" {found['unit']}" if found["unit"] else ""
        low, high = found["quartiles"]
        rows.append(
            [
                found["what"],
                f"{number(found['reached'])}{unit} ({number(low)} to {number(high)})",
                f"{found['at_most']:g}{unit}",
                "met" if found["is_met"] else "**not met**",
            ]
        )
    return "## Targets\n\n" + table(["CPU time, unless stated otherwise", "measured", "at most", ""], rows)


# Optional figures of a measurement: their column heads and scales.
EXTRAS = {
    "server": ("server's CPU µs", 1e6),
    "connections": ("connections", 1),
    "first": ("the first with a call, CPU µs", 1e6),
    "used": ("another with a call, CPU µs", 1e6),
    "bytes": ("KB", 1e-3),
    "resident": ("resident KB", 1e-3),
}


def scenario_table(scenario: Scenario, results: dict[str, Rounds]) -> str:
    """Return the table of a scenario, the fastest client first."""
    floor = results.get(FLOOR)
    extras = [name for name in EXTRAS if any(name in rounds[0] for rounds in results.values())]
    heads = ["client", "CPU µs", "quartiles", f"over {CLIENTS[scenario.rival].title}", "wall µs"]
    heads += ["CPU µs above the floor"] if floor else []
    heads += [EXTRAS[name][0] for name in extras]
    rows = []
    for name, rounds in sorted(results.items(), key=lambda item: middle(item[1], "cpu")):
        _, low, high = spread([figures["cpu"] * 1e6 for figures in rounds])
        row = [CLIENTS[name].title, number(middle(rounds, "cpu", 1e6)), f"{number(low)} to {number(high)}"]
        row += [_over(rounds, results.get(scenario.rival)), number(middle(rounds, "wall", 1e6))]
        if floor:
            above = middle(rounds, "cpu", 1e6) - middle(floor, "cpu", 1e6)
            row.append(number(above) if CLIENTS[name].on_httpx else "")
        row += [number(middle(rounds, extra, EXTRAS[extra][1])) for extra in extras]
        rows.append(row)
    return f"## {scenario.name[0].upper()}{scenario.name[1:]}\n\n" + table(heads, rows)


def versions_table(versions: dict[str, dict[str, str]]) -> str:
    rows = [
        [CLIENTS[name].title, ", ".join(f"{package} {version}" for package, version in found.items())]
        for name, found in versions.items()
    ]
    return "## Versions\n\n" + table(["client", "installed"], rows, "---")


def middle(rounds: Rounds, figure: str, scale: float = 1) -> float:
    return median(figures[figure] for figures in rounds) * scale


def _over(rounds: Rounds, rival: Optional[Rounds]) -> str:
    return f"{median(ratios(rounds, rival)):.2f}" if rival else ""


def number(value: float) -> str:
    """Format a number with three significant digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
