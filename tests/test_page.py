"""The page of a server: over plain HTTP, and in a browser where there is one."""

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
def test_the_page_is_served(http, path, media_type):
    """The page and what belongs to it come from the server itself, and may load nothing else."""
    answer = http.get(path)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(media_type)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert not {name for name in answer.headers if name.startswith("access-control-")}
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", answer.text)


def test_the_page_has_nothing_inline(http):
    """Style and script are in files of their own, as the policy wants it."""
    page = http.get("/").text

    assert not re.search(r"<style|<script>|\son\w+=|\sstyle=", page)
    assert set(re.findall(r'(?:src|href)="(/[^"]*)"', page)) == set(_FILES) - {"/"}


def test_the_script_writes_text_only(http):
    """What calls say is never read as HTML."""
    script = http.get("/page.js").text

    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(", script)


def test_the_news_begin_with_what_there_is(http, client):
    """A browser that comes late sees the calls before, then each new one."""
    client.invoke_prompt(deployment="summarise", inputs={"text": "a"})

    with http.stream("GET", "/events") as answer:
        messages = messages_of(answer)
        snapshot = next(messages)
        client.invoke_prompt_stream(deployment="summarise", inputs={"text": "b"}).collect()
        kinds = [next(messages)["kind"] for _ in range(4)]

    assert answer.headers["content-type"] == "text/event-stream"
    assert [call["request"]["inputs"] for call in snapshot["calls"]] == [{"text": "a"}]
    assert kinds == ["call", "change", "event", "event"]


def test_the_news_do_not_tell_the_key(http, client):
    """No key leaves the server."""
    client.invoke_prompt(deployment="summarise", inputs={"text": KEY})

    with http.stream("GET", "/events") as answer:
        assert KEY not in json.dumps(next(messages_of(answer)))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400", "[" * 1000 + "]" * 1000])
def test_odd_request_does_not_end_the_news(http, client, number):
    """After a request that is not JSON, the page goes on."""
    http.post("/v1/prompt/invoke", content=f'{{"deployment": "summarise", "inputs": {{"x": {number}}}}}')
    client.invoke_prompt(deployment="summarise", inputs={"text": "a"})

    with http.stream("GET", "/events") as answer:
        data = next(line for line in answer.iter_lines() if line.startswith("data: "))

    calls = json.loads(data[len("data: ") :], parse_constant=pytest.fail)["calls"]
    assert [call["status"] for call in calls] == [401, 200]


@pytest.mark.parametrize("path", ["/", "/page.js", "/events"])
@pytest.mark.parametrize("host", ["evil.test", "evil.test:80", "127.0.0.1.evil.test", "10.0.0.1"])
def test_another_name_is_refused(http, path, host):
    """A site whose name points to this machine cannot read the page under that name."""
    answer = http.get(path, headers={"Host": host})

    assert answer.status_code == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:80"])
def test_names_of_this_machine_are_let_in(http, host):
    """The names of the loopback are those of the page."""
    assert http.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_pages_do_not_get_the_news(http, site):
    """A browser says which page asks: only this one is told."""
    assert http.get("/events", headers={"Sec-Fetch-Site": site}).status_code == 403


def test_the_page_does_not_disturb_the_service(http, client):
    """What is no page is answered as ever; a GET of a call's path is refused by the service."""
    assert client.invoke_prompt(deployment="summarise", inputs={"text": "a"}).response == "In short: a"
    assert http.get("/v1/prompt/invoke").status_code == 405
    assert http.get("/favicon.ico").status_code == 404
    assert http.post("/events").status_code == 404
    assert http.head("/").headers["content-type"].startswith("text/html")
    assert http.head("/events").status_code == 200


def test_without_the_page_there_is_none(emulator):
    """`serve` shows no page unless it is asked to."""
    with emulator.serve() as url, httpx.Client() as http:
        assert http.get(url[: -len("v1")]).status_code == 404


def test_a_server_stops_while_it_is_watched(emulator):
    """A browser that watches does not keep the server from its end."""
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
    """A tab that shows the page, and has been told all calls so far."""
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
    """Wait until so many calls have been answered, and all of that has been drawn."""
    page.wait_for_function(
        "number => calls.size === number && !isDrawing && [...calls.values()].every((call) => call.state !== 'open')",
        arg=number,
    )


def chosen_in(page):
    return page.inner_text(".call[aria-current=true] .preview")


def test_a_browser_shows_calls_as_they_come(page, client):
    """A call appears by itself, with inputs, answer, reasoning, status, tokens and its events on a time line."""
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


def test_a_browser_shows_what_went_wrong(page, client):
    """Refused calls and broken streams are shown with what was said."""
    ask(client, "a", deployment="sumarise")
    page.wait_for_selector("#status:text('404')")
    refused = page.inner_text("#error")
    with suppress(FetchHiveError):
        client.invoke_prompt_stream(deployment="breaks").collect()
    page.wait_for_selector("#status:text('cut')")

    assert "There is no deployment 'sumarise'" in refused
    assert page.inner_text("#answer-text").startswith("one two")
    assert "connection broke" in page.inner_text("#error")


def test_a_browser_shows_text_as_text(page, client):
    """What looks like HTML in a call stays text: in names, inputs, answers and errors."""
    title = page.title()
    ask(client, EVIL)
    ask(client, EVIL, deployment=EVIL, variant=EVIL)
    wait_for_calls(page, 2)
    page.click(".call >> nth=1")

    assert page.inner_text("#answer-text") == f"In short: {EVIL}"
    assert page.locator("main script, main img:not([src='/icon.svg'])").count() == 0
    assert page.title() == title


def test_a_browser_filters_by_deployment(page, client):
    """The filter leaves the calls of a deployment, Escape takes it back."""
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


def test_a_browser_is_driven_by_keys(page, client):
    """The letters j and k, arrows, Enter and Escape go through the calls; whoever has let go follows the newest."""
    for text in "abc":
        ask(client, text)
    wait_for_calls(page, 3)
    seen = [chosen_in(page)]
    for key in ["j", "ArrowDown", "j", "k"]:
        page.keyboard.press(key)
        seen.append(chosen_in(page))

    assert [said[-1] for said in seen] == ["c", "b", "a", "a", "b"]
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
def test_a_narrow_browser_shows_one_thing_at_a_time(page, client):
    """On a narrow screen there is the list or a call, nothing sticks out, and there is a way back."""
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


def test_a_browser_copies_python_that_runs(page, client, base_url, tmp_path, emulator):
    """The Python that is copied makes the same call, with the key from the environment."""
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
def test_a_browser_copies_curl_that_runs(page, client, emulator):
    """The curl command that is copied makes the same call, with the key from the environment."""
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


def test_a_browser_says_when_the_server_has_stopped(browser, emulator):
    """The page tells that it is no longer live, and comes back by itself."""
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
def test_a_browser_shows_readable_text(page, client, scheme):
    """Text stands out from its ground by 4.5 to 1 or more, in light and in dark."""
    page.emulate_media(color_scheme=scheme)
    ask(client, "a")
    ask(client, "a", deployment="other")
    wait_for_calls(page, 2)

    weak = page.evaluate(CONTRAST)

    assert weak == []


# The texts whose contrast is below 4.5, as WCAG 2 computes it.
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
