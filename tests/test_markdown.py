"""Answers in a notebook: their text is shown as Markdown, and runs and loads nothing."""

from __future__ import annotations

import html
import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetch_hive_sdk import AgentReply, InvokeResponse, prompt
from fetch_hive_sdk.models.markdown import safe_markdown

markdown_it = pytest.importorskip("markdown_it", reason="rich is not installed, which installs markdown-it-py")

OUR_TAGS = {"<code>", "</code>"}


def tokens_of(markdown: str) -> list:
    """The tokens of a CommonMark parser that, as in a notebook, lets HTML through."""
    parser = markdown_it.MarkdownIt("commonmark", {"html": True})
    parser.validateLink = lambda url: True
    tokens = parser.parse(markdown)
    return [inner for token in tokens for inner in (token, *(token.children or ()))]


def shown(markdown: str) -> str:
    """The text that a reader sees."""
    rendered = markdown_it.MarkdownIt("commonmark", {"html": True}).render(markdown)
    return html.unescape(re.sub(r"<[^>]*>", "", rendered)).strip()


def assert_safe(markdown: str) -> None:
    for token in tokens_of(markdown):
        if token.type == "html_inline":
            assert token.content in OUR_TAGS
        if token.type == "html_block":
            assert not re.search(r"<(?!/?(pre><code>|code>(</pre>)?|pre>))", token.content)
        assert token.type != "image"
        if token.type == "link_open":
            assert str(token.attrs["href"]).startswith(("http://", "https://"))


@pytest.mark.parametrize("answer", [InvokeResponse(response="**Short.**"), AgentReply(response="**Short.**")])
def test_text_is_markdown(answer):
    """A notebook shows the text of the answer."""
    assert answer._repr_markdown_() == "**Short.**"


def test_answer_of_a_typed_prompt_is_markdown():
    """It is an `InvokeResponse`, too."""

    @prompt("summarise")
    def summarise(text: str) -> str:
        raise NotImplementedError

    answer = summarise(text="A long text.").read(InvokeResponse(response="# Short"))

    assert answer._repr_markdown_() == "# Short"


@pytest.mark.parametrize("text", ["", " \n"])
def test_answer_without_text_is_shown_as_repr(text):
    """None tells a notebook to use the repr, which lists the other fields."""
    assert AgentReply(response=text, status="awaiting_approval")._repr_markdown_() is None


def test_only_the_text_is_shown():
    """Reasoning, ids and webhook secrets are not."""
    answer = InvokeResponse.model_validate(
        {"response": "Short.", "reasoning": "Hm.", "request_id": "req_1", "webhook_secret": "whsec_0123456789"}
    )

    assert answer._repr_markdown_() == "Short."


@pytest.mark.parametrize(
    "text",
    [
        "# Title\n\n* *one*\n* `two`\n\n> a < b and 1 <2 & c\n\n| a | b |\n| - | - |\n",
        "[docs](https://example.com/a?b=c) and [1]: https://example.com",
        "```python\nprint(items[0], a < b)\n```\n",
        "$a < b$ costs 5 $",
    ],
)
def test_harmless_markdown_is_unchanged(text):
    """Headings, lists, tables, links to web pages, formulas and code stay as they are."""
    assert safe_markdown(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "a <img src=x onerror=alert(1)> b",
        "<!-- hidden -->",
        "Click [here](javascript:alert(1)).",
        "[here](&#106;avascript:alert(1))",
        "[here]( <data:text/html,x> )",
        "[here][1]\n\n[1]: javascript:alert(1)",
        "<javascript:alert(1)>",
        r"[here\](javascript:alert(1))",
    ],
)
def test_unsafe_markdown_is_shown_as_text(text):
    """The reader sees what the model has written, and nothing runs."""
    safe = safe_markdown(text)

    assert_safe(safe)
    assert "alert" not in text or "alert(1)" in shown(safe)


@pytest.mark.parametrize("text", ["![x](https://example.com/?q=secret)", "![x][1]\n\n[1]: https://example.com"])
def test_image_is_a_link(text):
    """An image would be loaded at once: its address could carry the content of a document away."""
    safe = safe_markdown(text)

    assert_safe(safe)
    assert [token for token in tokens_of(safe) if token.type == "link_open"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```html\n<div>\n\n  a*b*c &amp; [x](y)\n</div>\n```", "<div>\n\n  a*b*c &amp; [x](y)\n</div>"),
        ("~~~\nif a in [1]: pass", "if a in [1]: pass"),
        ("1. one\n\n   ```\n   List<int>\n   ```", "one\n\n   List<int>"),
        ("A `List<int>` and ``Map<`a`>``.", "A List<int> and Map<`a`>."),
    ],
)
def test_code_looks_the_same(text, code):
    """Tags in code are shown as they were written."""
    safe = safe_markdown(text)

    assert_safe(safe)
    assert shown(safe) == code


MARKS = [
    "<",
    "</",
    "!",
    "[",
    "]",
    "(",
    ")",
    ":",
    "`",
    "```",
    "~~~",
    "\n",
    "\n\n",
    " ",
    "    ",
    "\\",
    "> ",
    "* ",
    "1. ",
    "$",
]
WORDS = ["script>", "javascript:x", "https://x", "&lt;", "<!--", "-->", "<pre>", "</pre>", "html", "a", '"']
pieces = st.sampled_from(MARKS + WORDS)


@given(st.lists(pieces, max_size=40).map("".join))
@example("```\n<script>\n")
@example("> ```\n<script>x</script>\n```")
@example("`a\n\n<script>`")
def test_no_markdown_is_unsafe(text):
    """However code, links and tags are nested or cut off."""
    assert_safe(safe_markdown(text) or "")


@pytest.mark.parametrize("piece", ["`", "``` ", "<a ", "[", "](", "`" * 3 + "\n", "`a\n", "~~~\n"])
def test_long_answer_takes_linear_time(piece):
    """A hundred thousand characters take less than a second."""
    began = time.perf_counter()

    safe_markdown(piece * (100_000 // len(piece)))

    assert time.perf_counter() - began < 1
