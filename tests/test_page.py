"""The page of a server: over plain HTTP, and in a browser if there is one."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from contextlib import suppress

import httpx
import pytest

from fetch_hive_sdk import FetchHive, FetchHiveError
from fetch_hive_sdk.emulator._page import _FILES
from fetch_hive_sdk.testing import TEST_KEY, Deployment, Emulator, PlannedFault

KEY = "fhk_0123456789"
EVIL = '<img src=x onerror="document.title=1"> \'; <script>document.title=2</script>'


@pytest.fixture
def emulator():
    return Emulator(
        Deployment(name="summarise", answer="In short: {text}", reasoning="Hm."),
        Deployment(name="breaks", answer="one two three four", faults=[PlannedFault(fault="cut")]),
    )


@pytest.fixture
def base_url(emulator):
    with emulator.serve(page=True) as url:
        yield url


@pytest.fixture
def address(base_url):
    return base_url[: -len("/v1")]


@pytest.fixture
def client(base_url):
    with FetchHive(KEY, base_url, max_retries=0) as client:
        yield client


@pytest.fixture
def http(address):
    with httpx.Client(base_url=address, timeout=60) as http:
        yield http


def messages_of(answer):
    for line in answer.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line[len("data: ") :])


# --- Over HTTP -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "media_type"),
    [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript"), ("/icon.svg", "image/svg+xml")],
)
def test_page_is_served(http, path, media_type):
    """The server sends the page and its files, which may load nothing else."""
    answer = http.get(path)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(media_type)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert not {name for name in answer.headers if name.startswith("access-control-")}
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", answer.text)


def test_page_has_nothing_inline(http):
    """Style and script are separate files, as the content security policy requires."""
    page = http.get("/").text

    assert not re.search(r"<style|<script>|\son\w+=|\sstyle=", page)
    assert set(re.findall(r'(?:src|href)="(/[^"]*)"', page)) == set(_FILES) - {"/"}


def test_script_writes_text_only(http):
    """The content of calls is never parsed as HTML."""
    script = http.get("/page.js").text

    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(", script)


def test_feed_starts_with_a_snapshot(http, client):
    """A browser gets the earlier calls first, then each new one."""
    client.invoke_prompt(deployment="summarise", inputs={"text": "a"})

    with http.stream("GET", "/events") as answer:
        messages = messages_of(answer)
        snapshot = next(messages)
        client.invoke_prompt_stream(deployment="summarise", inputs={"text": "b"}).collect()
        kinds = [next(messages)["kind"] for _ in range(4)]

    assert answer.headers["content-type"] == "text/event-stream"
    assert [call["request"]["inputs"] for call in snapshot["calls"]] == [{"text": "a"}]
    assert kinds == ["call", "change", "event", "event"]


def test_feed_masks_the_key(http, client):
    """The API key is not sent to the page."""
    client.invoke_prompt(deployment="summarise", inputs={"text": KEY})

    with http.stream("GET", "/events") as answer:
        assert KEY not in json.dumps(next(messages_of(answer)))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400", "[" * 1000 + "]" * 1000])
def test_feed_survives_invalid_requests(http, client, number):
    """The feed continues after a request that is not JSON."""
    http.post("/v1/prompt/invoke", content=f'{{"deployment": "summarise", "inputs": {{"x": {number}}}}}')
    client.invoke_prompt(deployment="summarise", inputs={"text": "a"})

    with http.stream("GET", "/events") as answer:
        data = next(line for line in answer.iter_lines() if line.startswith("data: "))

    calls = json.loads(data[len("data: ") :], parse_constant=pytest.fail)["calls"]
    assert [call["status"] for call in calls] == [401, 200]


@pytest.mark.parametrize("path", ["/", "/page.js", "/events"])
@pytest.mark.parametrize("host", ["evil.test", "evil.test:80", "127.0.0.1.evil.test", "10.0.0.1"])
def test_other_host_names_are_rejected(http, path, host):
    """A site whose name points to this machine cannot read the page."""
    answer = http.get(path, headers={"Host": host})

    assert answer.status_code == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:80"])
def test_loopback_names_are_accepted(http, host):
    """The page is served to all names of the loopback address."""
    assert http.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_pages_cannot_read_the_feed(http, site):
    """Browsers send the origin of a request, and only this page's is accepted."""
    assert http.get("/events", headers={"Sec-Fetch-Site": site}).status_code == 403


def test_page_does_not_change_the_service(http, client):
    """Other paths are answered by the service, including a GET of a call's path."""
    assert client.invoke_prompt(deployment="summarise", inputs={"text": "a"}).response == "In short: a"
    assert http.get("/v1/prompt/invoke").status_code == 405
    assert http.get("/favicon.ico").status_code == 404
    assert http.post("/events").status_code == 404
    assert http.head("/").headers["content-type"].startswith("text/html")
    assert http.head("/events").status_code == 200


def test_page_is_optional(emulator):
    """`serve` has no page by default."""
    with emulator.serve() as url, httpx.Client() as http:
        assert http.get(url[: -len("v1")]).status_code == 404


def test_open_feed_does_not_block_stopping(emulator):
    """A server stops although a browser is connected."""
    with emulator.serve(page=True) as url:
        watching = socket.create_connection(("127.0.0.1", httpx.URL(url).port))
        watching.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert watching.recv(12) == b"HTTP/1.1 200"

    with watching:
        while watching.recv(65536):
            pass


# --- In a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=[{"width": 1280, "height": 800}], ids=["wide"])
def page(request, browser, address):
    """A tab with the page, after the first snapshot."""
    context = browser.new_context(viewport=request.param, permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(address)
    page.wait_for_selector("#connection[data-state=live]")
    yield page
    context.close()
    assert complaints == []


on_a_phone = pytest.mark.parametrize("page", [{"width": 390, "height": 800}], ids=["narrow"], indirect=True)


def ask(client, text, deployment="summarise", **fields):
    with suppress(FetchHiveError):
        client.invoke_prompt(deployment=deployment, inputs={"text": text}, **fields)


def wait_for_calls(page, number):
    """Wait until this number of calls has been answered and drawn."""
    page.wait_for_function(
        "number => calls.size === number && !isDrawing && [...calls.values()].every((call) => call.state !== 'open')",
        arg=number,
    )


def chosen_in(page):
    return page.inner_text(".call[aria-current=true] .preview")


def test_browser_shows_calls_live(page, client):
    """A call appears with inputs, answer, reasoning, status, tokens and a timeline of its events."""
    assert page.is_visible("#welcome")

    client.invoke_prompt_stream(deployment="summarise", variant="v", inputs={"text": "Ship."}).collect()

    page.wait_for_selector("#status:text('200')")
    assert (page.inner_text("#deployment"), page.inner_text("#variant")) == ("summarise", "v")
    assert page.inner_text("#inputs-list dd") == "Ship."
    assert (page.inner_text("#answer-text"), page.inner_text("#reasoning-text")) == ("In short: Ship.", "Hm.")
    assert "tokens" in page.inner_text("#facts")
    types = page.locator("#events-list b").all_inner_texts()
    assert types == ["reasoning", "response", "response", "response", "usage", "done"]
    assert page.locator("#marks i").count() == len(types)
    assert not page.is_visible("#welcome")


def test_browser_shows_errors(page, client):
    """Error responses and broken streams are shown with their messages."""
    ask(client, "a", deployment="sumarise")
    page.wait_for_selector("#status:text('404')")
    refused = page.inner_text("#error")
    with suppress(FetchHiveError):
        client.invoke_prompt_stream(deployment="breaks").collect()
    page.wait_for_selector("#status:text('cut')")

    assert "There is no deployment 'sumarise'" in refused
    assert page.inner_text("#answer-text").startswith("one two")
    assert "connection broke" in page.inner_text("#error")


def test_browser_does_not_parse_html(page, client):
    """HTML in names, inputs, answers and errors is shown as text."""
    title = page.title()
    ask(client, EVIL)
    ask(client, EVIL, deployment=EVIL, variant=EVIL)
    wait_for_calls(page, 2)
    page.click(".call >> nth=1")

    assert page.inner_text("#answer-text") == f"In short: {EVIL}"
    assert page.locator("main script, main img:not([src='/icon.svg'])").count() == 0
    assert page.title() == title


def test_browser_filters_by_deployment(page, client):
    """The filter shows the calls of a deployment; Escape clears it."""
    ask(client, "a")
    ask(client, "b", deployment="other")
    wait_for_calls(page, 2)

    page.keyboard.press("/")
    page.keyboard.type("SUMM")

    assert page.locator(".call:visible .name").all_inner_texts() == ["summarise"]
    assert page.text_content("#count") == "1 of 2"
    assert page.inner_text("#deployment") == "summarise"
    page.keyboard.type("x")
    assert page.is_visible("#none")
    assert page.is_hidden("#detail")
    page.keyboard.press("Escape")
    assert page.locator(".call:visible").count() == 2


def test_browser_has_keyboard_shortcuts(page, client):
    """The keys j and k, arrows, Enter and Escape navigate; Escape also returns to the newest call."""
    for text in "abc":
        ask(client, text)
    wait_for_calls(page, 3)
    seen = [chosen_in(page)]
    for key in ["j", "ArrowDown", "j", "k"]:
        page.keyboard.press(key)
        seen.append(chosen_in(page))

    assert [text[-1] for text in seen] == ["c", "b", "a", "a", "b"]
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "deployment"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.className") == "call"
    ask(client, "d")
    wait_for_calls(page, 4)
    assert chosen_in(page)[-1] == "b"
    page.keyboard.press("Escape")
    assert chosen_in(page)[-1] == "d"


@on_a_phone
def test_narrow_browser_shows_list_or_call(page, client):
    """A narrow screen shows the list or a call, without overflow, and a way back."""
    ask(client, "a" * 300)
    wait_for_calls(page, 1)
    assert page.is_hidden("#detail")

    page.click(".call")
    page.wait_for_selector("#detail", state="visible")

    assert page.is_hidden("nav")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click("#back")
    assert page.is_visible("nav")
    assert page.is_hidden("#detail")


def test_browser_copies_working_python(page, client, base_url, tmp_path, emulator):
    """The copied Python makes the same call, with the key from the environment."""
    inputs = {"text": 'it\'s "so"\n\u2028 \\', "list": [1, None, True, {"a": []}], "long": "x" * 100}
    client.invoke_prompt(deployment="summarise", inputs=inputs, metadata={"n": 1}, extra_body={"new": False})
    wait_for_calls(page, 1)
    page.click("#copy-python")
    page.wait_for_selector("#copied:text('Copied')")
    program = page.evaluate("navigator.clipboard.readText()")

    environment = {"FETCH_HIVE_API_KEY": TEST_KEY, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)

    assert KEY not in program
    assert done.stdout.decode().startswith("In short: it's")
    assert emulator.calls[0].raw == emulator.calls[1].raw


@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("sh"), reason="there is no curl here")
def test_browser_copies_working_curl(page, client, emulator):
    """The copied curl command makes the same call, with the key from the environment."""
    client.invoke_prompt_stream(deployment="summarise", inputs={"text": 'it\'s "$HOME" `id` \\ \n'}).collect()
    wait_for_calls(page, 1)
    page.click("#copy-curl")
    page.wait_for_selector("#copied:text('Copied')")
    command = page.evaluate("navigator.clipboard.readText()")

    environment = {"FETCH_HIVE_API_KEY": TEST_KEY, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, check=True)

    assert "$FETCH_HIVE_API_KEY" in command
    assert KEY not in command
    assert done.stdout.endswith(b"data: [DONE]\n\n")
    assert emulator.calls[0].raw == emulator.calls[1].raw


def test_browser_reconnects(browser, emulator):
    """The page shows that the server has stopped, and reconnects automatically."""
    context = browser.new_context()
    page = context.new_page()
    with emulator.serve(page=True) as url:
        page.goto(url[: -len("v1")])
        page.wait_for_selector("#connection[data-state=live]")

    page.wait_for_selector("#connection[data-state=lost]")
    with emulator.serve(httpx.URL(url).port, page=True):
        page.wait_for_selector("#connection[data-state=live]")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_browser_text_has_contrast(page, client, scheme):
    """The contrast of text is 4.5 to 1 or more, in light and dark mode."""
    page.emulate_media(color_scheme=scheme)
    ask(client, "a")
    ask(client, "a", deployment="other")
    wait_for_calls(page, 2)

    weak = page.evaluate(CONTRAST)

    assert weak == []


# Returns the texts with a contrast below 4.5, as computed by WCAG 2.
CONTRAST = """() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgb = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data]; };
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, index) => sum + c * [0.2126, 0.7152, 0.0722][index], 0);
    const ground = (element) => { for (let each = element; each; each = each.parentElement) {
        const color = rgb(getComputedStyle(each).backgroundColor); if (color[3] === 255) return color; }
        return [255, 255, 255, 255]; };
    const weak = [];
    for (const element of document.body.querySelectorAll("*")) {
        const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!hasText || !element.checkVisibility()) continue;
        const [one, two] = [light(rgb(getComputedStyle(element).color)), light(ground(element))];
        const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
        if (ratio < 4.5) weak.push([element.tagName, element.className, element.textContent, ratio]);
    }
    return weak;
}"""
