"""The site builds in strict mode, loads nothing from other hosts, and works in a browser (if one is installed)."""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

import fetch_hive_sdk
from fetch_hive_sdk import bulk, emulator, telemetry, testing

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    for needed in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(needed, reason="building the site needs mkdocs: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


class Html(HTMLParser):
    """The ids, the links and the loaded resources of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loaded = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids.add(found.get("id"))
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        elif tag in {"script", "img", "iframe", "source"} and found.get("src"):
            self.loaded.append(found["src"])
        elif tag == "link" and "canonical" not in found["rel"]:
            self.loaded.append(found["href"])


@pytest.fixture(scope="module")
def pages(site):
    """The parsed pages of the site, by path."""
    found = {path.relative_to(site).as_posix(): path for path in sorted(site.rglob("*.html"))}
    return {path.removesuffix("index.html"): Html(file.read_text("utf-8")) for path, file in found.items()}


def test_pages_load_nothing_from_other_hosts(pages):
    """Scripts, styles, fonts and images are part of the site, so it works without a network."""
    assert [url for page in pages.values() for url in page.loaded if urlsplit(url).netloc] == []


def test_every_page_shows_the_version(site, pages):
    """The bottom of every page has the version of the package."""
    for path in pages:
        file = site / path / "index.html" if path.endswith("/") or not path else site / path
        _, _, footer = file.read_text("utf-8").rpartition("<footer")
        assert f"fetch-hive-sdk {fetch_hive_sdk.__version__}" in footer, path


def test_links_work(site, pages):
    """Every link inside the site leads to an existing file and anchor."""
    broken = []
    for path, page in pages.items():
        for link in page.links:
            target = urlsplit(urljoin(f"https://here.test/{path}", link))
            if path == "404.html" or target.netloc != "here.test":
                continue
            name = unquote(target.path[1:])
            is_there = name in pages or (site / name).is_file()
            if not is_there or (target.fragment and unquote(target.fragment) not in pages[name].ids):
                broken.append(f"{path}: {link}")
    assert broken == []


def test_every_public_name_has_an_anchor(pages):
    """The reference has an anchor for every public name, such as `#fetch_hive_sdk.FetchHive`."""
    anchors = set().union(*(page.ids for page in pages.values()))

    modules = (fetch_hive_sdk, bulk, emulator, telemetry, testing)
    names = {f"{module.__name__}.{name}" for module in modules for name in module.__all__}
    # The page on the emulator has these.
    names -= {f"fetch_hive_sdk.testing.{name}" for name in emulator.__all__}
    assert names - anchors == {"fetch_hive_sdk.__version__"}


# --- In a browser ----------------------------------------------------------------------------------------------------


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(site):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(site)))
    server.daemon_threads = False  # server_close() then waits for them
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


WIDE = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 375, "height": 720}}
DARK = {**WIDE, "color_scheme": "dark"}

on = functools.partial(pytest.mark.parametrize, "tab", indirect=True)


@pytest.fixture
def tab(request, browser, address):
    """A browser tab that shows the first page."""
    context = browser.new_context(base_url=address, **request.param)
    tab = context.new_page()
    complaints = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.on("request", lambda sent: None if sent.url.startswith((address, "data:")) else complaints.append(sent.url))
    tab.goto("/")
    yield tab
    context.close()
    assert complaints == []


@on([WIDE], ids=["wide"])
def test_first_screen_says_what_why_and_how(tab):
    """The first screen says, without scrolling, what the package is, shows what is special, and how to start."""
    examples = ("client.invoke(extract_ticket(", "invoke_prompt_stream(", "except FetchHiveError as exc")
    for text in ("A typed Python client for the whole Fetch Hive API", *examples, "fetch-hive demo", "five minutes"):
        shown = tab.locator("article :is(p, a, pre)").filter(has_text=text).first.bounding_box()
        assert shown["y"] + shown["height"] <= 800, text


def paths_found(tab, words):
    """Search for words, and return the paths of the results, the best first."""
    tab.wait_for_selector(".md-search-result__meta:text('Type to start searching')", state="attached")
    tab.get_by_role("textbox", name="Search").click()
    tab.keyboard.type(words)
    tab.wait_for_selector(".md-search-result__link")
    return tab.locator(".md-search-result__link").evaluate_all("links => links.map((link) => link.pathname)")


@on([WIDE], ids=["wide"])
def test_search_finds_names(tab):
    """The search finds a name in the reference and in the how-tos, and its first result opens a page with the name."""
    assert {"/reference/errors/", "/what-happens-when/"} <= set(paths_found(tab, "maybe_processed"))

    tab.click(".md-search-result__link >> nth=0")

    tab.wait_for_function("document.querySelector('article').innerText.includes('maybe_processed')")


@on([WIDE], ids=["wide"])
@pytest.mark.parametrize("words", ["retry", "retries", "retrying"])
def test_search_finds_other_forms_of_a_word(tab, words):
    """The search for "retry" and its other forms has the page "Retries and timeouts" first."""
    assert paths_found(tab, words)[0] == "/retries-and-timeouts/"
    assert tab.locator(".md-search-result__link h1").first.inner_text() == "Retries and timeouts"


@on([WIDE, DARK], ids=["light", "dark"])
def test_colours_follow_the_system_until_changed(tab):
    """A page is dark if the system is; the switch in the header cycles through light, dark and the system's colours."""
    background = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    prefers_dark = tab.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert (max(tab.evaluate(background)) < 128) == prefers_dark

    seen = []
    for _ in range(3):
        tab.click("header label[for^=__palette]:visible")
        seen.append(max(tab.evaluate(background)) < 128)

    assert seen == [False, True, prefers_dark]


@on([PHONE, WIDE], ids=["phone", "wide"])
def test_pages_and_code_fit_the_screen(tab, pages):
    """A page never scrolls sideways, and on a wide screen its code blocks and signatures do not either."""
    too_wide = "blocks => blocks.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.innerText)"
    for path in pages:
        if path != "404.html":
            tab.goto(f"/{path}")
            width, room = tab.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert width <= room, path
            if room == WIDE["viewport"]["width"]:
                assert tab.locator("pre > code").evaluate_all(too_wide) == [], path


@on([PHONE], ids=["phone"])
def test_drawer_on_a_phone_leads_to_pages(tab):
    """On a phone, the menu opens as a drawer and its links lead to the pages."""
    tab.click("header label[for=__drawer]")

    tab.click("nav.md-nav--primary a:has-text('Tutorial')")

    tab.wait_for_url("**/tutorial/")
