"""The page of `fetch-hive compare`: one HTML file, without scripts."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING

from ._compare import totals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._compare import Result, Row

_HEAD = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #8884; --soft: #8881; --dim: light-dark(#666, #aaa); }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }}
section {{ border-top: 1px solid var(--line); padding: 1rem 0; }}
h2 {{ font-size: 1rem; margin: 0 0 .5rem; }}
pre {{ background: var(--soft); border-radius: .4rem; font-size: .85rem; margin: 0 0 1rem; overflow-x: auto;
  padding: .5rem .75rem; white-space: pre-wrap; overflow-wrap: anywhere; }}
.variants {{ display: grid; gap: 1.5rem; grid-template-columns: repeat({count}, minmax(0, 1fr)); }}
.answer {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
.facts, .sum {{ color: var(--dim); font-size: .85rem; }}
.error {{ color: light-dark(#b00020, #ff8a80); overflow-wrap: anywhere; }}
@media (max-width: 40rem) {{ .variants {{ grid-template-columns: 1fr; }} }}
</style>
<h1>{title}</h1>
"""


def page_of(deployment: str, variants: Sequence[str], rows: Sequence[Row]) -> str:
    """Return the page."""
    sums = "".join(
        f'<p class="sum"><b>{escape(variant)}</b>: {totals(rows, at)}</p>\n' for at, variant in enumerate(variants)
    )
    head = _HEAD.format(title=f"Variants of {escape(deployment)}", count=len(variants))
    return head + sums + "".join(_section(number, row, variants) for number, row in enumerate(rows, 1)) + "</html>\n"


def _section(number: int, row: Row, variants: Sequence[str]) -> str:
    inputs = escape(json.dumps(row.inputs, ensure_ascii=False, indent=2))
    cells = "".join(_cell(variant, result) for variant, result in zip(variants, row.results))
    return (
        f'<section>\n<h2>Case {number}</h2>\n<pre>{inputs}</pre>\n<div class="variants">\n{cells}</div>\n</section>\n'
    )


def _cell(variant: str, result: Result) -> str:
    error = ""
    if result.failure is not None:
        error = f'<p class="error">{escape(result.failure)}</p>'
    text = f'<div class="answer">{escape(result.text)}</div>'
    return f'<div><h2>{escape(variant)}</h2>{text}{error}<p class="facts">{escape(result.facts)}</p></div>\n'
