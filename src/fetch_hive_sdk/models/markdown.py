"""The text of an answer as Markdown that is safe to show in a notebook. Performs no I/O.

A notebook runs the scripts in the HTML of a Markdown output, and loads its images. An answer may contain both, for
example if the model has read a document that asks for them.
"""

from __future__ import annotations

import re
from typing import Optional

# The beginning of a tag, a link to anything but a web page, and an image. A tag needs one of these characters directly
# after "<": https://html.spec.whatwg.org/multipage/parsing.html#tag-open-state
_UNSAFE = re.compile(r"<(?=[A-Za-z/!?])|\](?=[(:](?!\s*https?://))|!(?=\[)")

# A fenced code block (unclosed, it extends to the end of the text), or a code span in a paragraph.
_CODE = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,})[^\n`]*\n(?P<block>.*?)(?:^[ \t]*(?P=fence)[`~]*[ \t\r]*$|\Z)"
    r"|(?<!`)(?P<ticks>`+)(?!`)(?P<span>(?:[^\n]|\n(?!\s*\n))+?)(?<!`)(?P=ticks)(?!`)",
    re.DOTALL | re.MULTILINE,
)


def safe_markdown(text: str) -> Optional[str]:
    """Return Markdown without HTML, images, and links to anything but web pages; None if there is no text.

    They are shown as text instead. Code keeps its look: a character reference means nothing in the code of Markdown, so
    code that contains one of them becomes HTML that is escaped completely.
    """
    if not text.strip():
        return None
    parts: list[str] = []
    end = 0
    for found in _CODE.finditer(text):
        parts += (_escape_unsafe(text[end : found.start()]), _escape_code(found))
        end = found.end()
    return "".join([*parts, _escape_unsafe(text[end:])])


def _escape_unsafe(text: str) -> str:
    # Not by a backslash: there may be one before it already, and the two would cancel out.
    return _UNSAFE.sub(lambda found: _reference(found[0]), text)


def _escape_code(found: re.Match[str]) -> str:
    if not _UNSAFE.search(found[0]):
        return found[0]
    # Whatever a renderer takes this for: nothing in it has a meaning in Markdown or in HTML.
    block = found["block"]
    code = re.sub(r"[^\w\s]|_", lambda sign: _reference(sign[0]), found["span"] if block is None else block)
    return f"<code>{code}</code>" if block is None else f"<pre><code>{code}</code></pre>"


def _reference(sign: str) -> str:
    return f"&#{ord(sign)};"
