"""The documentation as a site: built strictly, asks nobody for anything, and works in a browser where there is one."""

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
        pytest.importorskip(needed, reason="the site is built where mkdocs is: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


class Html(HTMLParser):
    """The places in a page that can be linked to, the places that it links to, and what it loads."""

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
    """What is in each page of the site, by its path."""
    found = {path.relative_to(site).as_posix(): path for path in sorted(site.rglob("*.html"))}
    return {path.removesuffix("index.html"): Html(file.read_text("utf-8")) for path, file in found.items()}


def test_pages_load_nothing_from_elsewhere(pages):
    """Scripts, styles, fonts and pictures come with the site: it works without a network."""
    assert [url for page in pages.values() for url in page.loaded if urlsplit(url).netloc] == []


def test_every_link_leads_somewhere(site, pages):
    """Every link inside of the site leads to a file, and to a place in it that is there."""
    lost = []
    for path, page in pages.items():
        for link in page.links:
            target = urlsplit(urljoin(f"https://here.test/{path}", link))
            if path == "404.html" or target.netloc != "here.test":
                continue
            name = unquote(target.path[1:])
            is_there = name in pages or (site / name).is_file()
            if not is_there or (target.fragment and unquote(target.fragment) not in pages[name].ids):
                lost.append(f"{path}: {link}")
    assert lost == []


def test_every_public_name_can_be_linked_to(pages):
    """The reference has a place for every public name, as `#fetch_hive_sdk.FetchHive` for one."""
    places = set().union(*(page.ids for page in pages.values()))

    modules = (fetch_hive_sdk, bulk, emulator, telemetry, testing)
    names = {f"{module.__name__}.{name}" for module in modules for name in module.__all__}
    # These have their place with the emulator.
    names -= {f"fetch_hive_sdk.testing.{name}" for name in emulator.__all__}
    assert names - places == {"fetch_hive_sdk.__version__"}


# --- In a browser ----------------------------------------------------------------------------------------------------


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(site):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(site)))
    server.daemon_threads = False  # they are waited for at the end
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
    """A tab of a browser that shows the first page."""
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
def test_the_first_screen_says_what_why_and_how(tab):
    """Without scrolling one sees what it is, why not the vendor's, and how to start."""
    for text in ("A typed Python client for the Fetch Hive API", "Why not the vendor's package?", "fetch-hive demo"):
        box = tab.locator(f"article :text({text!r})").first.bounding_box()
        assert box["y"] + box["height"] <= 800, text


@on([WIDE], ids=["wide"])
def test_the_search_finds_names(tab):
    """What is typed into the search is found in the reference and in the how-tos, and can be gone to."""
    tab.wait_for_selector(".md-search-result__meta:text('Type to start searching')", state="attached")
    tab.get_by_role("textbox", name="Search").click()
    tab.keyboard.type("maybe_processed")
    tab.wait_for_selector(".md-search-result__link")
    found = tab.locator(".md-search-result__link").evaluate_all("links => links.map((link) => link.pathname)")
    assert {"/reference/errors/", "/what-happens-when/"} <= set(found)

    tab.click(".md-search-result__link >> nth=0")

    tab.wait_for_function("document.querySelector('article').innerText.includes('maybe_processed')")


@on([WIDE, DARK], ids=["light", "dark"])
def test_colours_are_those_of_the_system_until_they_are_changed(tab):
    """A system that is set to dark gets a dark page; the switch in the head goes through all three."""
    background = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    prefers_dark = tab.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert (max(tab.evaluate(background)) < 128) == prefers_dark

    seen = []
    for _ in range(3):
        tab.click("header label[for^=__palette]:visible")
        seen.append(max(tab.evaluate(background)) < 128)

    assert seen == [False, True, prefers_dark]


@on([PHONE, WIDE], ids=["phone", "wide"])
def test_no_page_is_wider_than_the_screen(tab, pages):
    """Nothing has to be scrolled sideways but code and tables, each by itself."""
    for path in pages:
        if path != "404.html":
            tab.goto(f"/{path}")
            width, room = tab.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert width <= room, path


@on([PHONE], ids=["phone"])
def test_a_phone_has_the_pages_in_a_drawer(tab):
    """The menu opens where one is, and leads to the next page."""
    tab.click("header label[for=__drawer]")

    tab.click("nav.md-nav--primary a:has-text('Tutorial')")

    tab.wait_for_url("**/tutorial/")
