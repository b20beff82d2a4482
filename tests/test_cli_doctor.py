"""`fetch-hive doctor`: a line for each thing that a call needs, and what to do about it."""

from __future__ import annotations

import datetime as dt
import json
import re
import socket
import ssl
import threading
from contextlib import contextmanager
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme

from fetch_hive_sdk.cli import main

KEY = "fhk_0123456789"
NOW = dt.datetime.now(dt.timezone.utc)


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("FETCH_HIVE_API_KEY", KEY)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)


@contextmanager
def answering(status=200, headers=None, context=None):
    """Serve answers on a loopback port; yield the base URL and what was asked."""
    asked = []

    class Visit(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, dict(self.headers)))
            self.send_response_only(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": "2", **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"{}")

        do_CONNECT = do_GET  # noqa: N815 - as the standard library has it

        def log_message(self, *args):
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request, client_address):
            """A client that does not trust us hangs up."""

        def get_request(self):
            connection, address = super().get_request()
            return (context.wrap_socket(connection, server_side=True) if context else connection), address

    with Server(("127.0.0.1", 0), Visit) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"{'https' if context else 'http'}://localhost:{server.server_port}/v1", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def examine(capsys, monkeypatch):
    """Run the doctor for a base URL; return the exit code and what it found, by check."""

    def examine(url=None, *options):
        if url is not None:
            monkeypatch.setenv("FETCH_HIVE_BASE_URL", url)
        code = main(["doctor", "--json", *options])
        told = json.loads(capsys.readouterr().out)
        assert told["ok"] is (code == 0)
        return code, {finding["check"]: finding for finding in told["checks"]}

    return examine


def results(found):
    return {check: finding["result"] for check, finding in found.items()}


def test_finds_that_all_is_well(capsys, monkeypatch):
    """A line for each check, in columns, and exit code 0."""
    with answering(headers={"Date": format_datetime(dt.datetime.now(dt.timezone.utc))}) as (url, asked):
        monkeypatch.setenv("FETCH_HIVE_BASE_URL", url)
        code = main(["doctor"])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert [line[9:18].strip() for line in lines] == [
        "versions", "key", "base URL", "proxy", "dns", "tls", "service", "clock",
    ]  # fmt: skip
    assert lines[1] == "ok       key       FETCH_HIVE_API_KEY is fhk_***, 14 characters long"
    assert lines[2] == f"ok       base URL  {url}, from FETCH_HIVE_BASE_URL"
    assert re.match(r"ok       dns       localhost is .*127\.0\.0\.1", lines[4])
    assert lines[7] == "ok       clock     same as that of the service"
    ((path, headers),) = asked
    assert path == "/v1/error_codes"
    assert not any(KEY in value for value in headers.values())


def test_needs_no_network_with_offline(examine, monkeypatch):
    """`--offline` looks at this machine alone."""

    def nothing(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", nothing)

    code, found = examine("https://nowhere.test/v1", "--offline")

    assert code == 0
    assert results(found)["network"] == "skipped"


def test_knows_the_service(examine):
    """Without a setting it looks at the service itself."""
    _, found = examine(None, "--offline")

    assert found["base URL"]["found"] == "https://api.fetchhive.com/v1, the default"


def test_tells_the_versions(examine):
    """What a report of a bug needs is on one line."""
    _, found = examine(None, "--offline")

    assert re.fullmatch(
        r"fetch-hive-sdk \S+, httpx \S+, httpcore \S+, pydantic \S+, Python \S+, .+", found["versions"]["found"]
    )


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ("", "is not set"),
        ("  ", "is not set"),
        ("fhk_ 123456", "is not a valid key"),
        ("fhk_\u00e9123456", "is not a valid key"),
    ],
)
def test_finds_a_key_that_cannot_be(examine, monkeypatch, key, complaint):
    """A key that is missing or broken is a problem, and is not shown."""
    monkeypatch.setenv("FETCH_HIVE_API_KEY", key)

    code, found = examine(None, "--offline")

    assert (code, found["key"]["result"]) == (8, "problem")
    assert complaint in found["key"]["found"]
    assert "123456" not in json.dumps(found)


def test_shows_no_part_of_a_key(examine, monkeypatch):
    """Of a key of another form nothing is shown but its length."""
    monkeypatch.setenv("FETCH_HIVE_API_KEY", "secret-of-ada")

    _, found = examine(None, "--offline")

    assert found["key"]["found"] == "FETCH_HIVE_API_KEY is ***, 13 characters long"


@pytest.mark.parametrize("url", ["ftp://x", "http://example.test/v1", "https://ada:secret@x.test", "x"])
def test_finds_a_base_url_that_cannot_be(examine, url):
    """A base URL that no client takes is a problem; its password is not shown, and the network is left alone."""
    code, found = examine(url)

    assert (code, found["base URL"]["result"], found["network"]["result"]) == (8, "problem", "skipped")
    assert "secret" not in json.dumps(found)


@pytest.mark.parametrize(
    ("variables", "result", "told"),
    [
        ({}, "ok", "none"),
        ({"HTTPS_PROXY": "http://ada:secret@x.test:1"}, "ok", "from HTTPS_PROXY"),
        ({"ALL_PROXY": "http://x.test", "NO_PROXY": "y.test"}, "ok", "from ALL_PROXY, except for NO_PROXY"),
        ({"HTTP_PROXY": "nonsense:::secret"}, "problem", "HTTP_PROXY is not the URL of a proxy"),
        ({"https_proxy": "ftp://ada:secret@x"}, "problem", "https_proxy is not the URL of a proxy"),
        ({"ALL_PROXY": "http://x.test", "no_proxy": "a:b"}, "problem", "NO_PROXY has an entry that is not a host name"),
    ],
)
def test_looks_at_the_proxies(examine, monkeypatch, variables, result, told):
    """The variables that count are named, those that cannot be read are a problem, and no password is shown."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    code, found = examine(None, "--offline")

    assert (code == 0, found["proxy"]["result"]) == (result == "ok", result)
    assert found["proxy"]["found"].startswith(told)
    assert "secret" not in json.dumps(found)


def test_finds_a_socks_proxy_without_its_package(examine, monkeypatch):
    """What is missing for a SOCKS proxy is named."""
    monkeypatch.setitem(__import__("sys").modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")

    code, found = examine(None, "--offline")

    assert code == 8
    assert "needs one more package" in found["proxy"]["found"]


def test_goes_through_the_proxy(examine, monkeypatch):
    """Behind a proxy, names and certificates are the proxy's business."""
    with answering(407) as (proxy, asked):
        monkeypatch.setenv("HTTPS_PROXY", proxy.replace("/v1", ""))
        monkeypatch.setenv("FETCH_HIVE_API_KEY", KEY)
        code, found = examine("https://service.test/v1")

    assert (code, found["dns"]["result"], found["tls"]["result"]) == (8, "skipped", "skipped")
    assert "407" in found["service"]["found"]
    assert asked[0][0] == "service.test:443"


def test_goes_past_the_proxy_to_this_machine(examine, monkeypatch):
    """A service on this machine is not asked through a proxy, as no call is."""
    with answering() as (proxy, asked_proxy), answering() as (url, asked):
        monkeypatch.setenv("HTTP_PROXY", proxy.replace("/v1", ""))
        code, found = examine(url)

    assert (code, found["dns"]["result"], len(asked), asked_proxy) == (0, "ok", 1, [])


def test_finds_a_name_that_is_not_there(examine, monkeypatch):
    """A host that nobody knows is a problem, and ends the examination."""

    def unknown(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    code, found = examine("https://nowhere.test/v1")

    assert (code, list(found)[-1]) == (8, "dns")
    assert found["dns"]["found"] == "cannot resolve nowhere.test: Name or service not known"


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def server_context(authority, *names, **further):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **further).configure_cert(context)
    return context


@pytest.fixture
def trust(monkeypatch, tmp_path):
    """Trust the certificates of an authority, and no others."""

    def trust(authority):
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    return trust


def test_shakes_hands(examine, authority, trust):
    """A trusted certificate is well, and how long it is valid is told."""
    trust(authority)
    with answering(context=server_context(authority, "localhost")) as (url, _):
        code, found = examine(url)

    assert (code, found["tls"]["result"], found["service"]["result"]) == (0, "ok", "ok")
    assert re.fullmatch(r"TLSv1\.\d, certificate valid for \d+ more days", found["tls"]["found"])


def test_finds_a_certificate_that_ends_soon(examine, authority, trust):
    """A certificate in its last days is a warning, and no problem."""
    trust(authority)
    context = server_context(authority, "localhost", not_after=NOW + dt.timedelta(days=3, hours=1))
    with answering(context=context) as (url, _):
        code, found = examine(url)

    assert (code, found["tls"]["result"]) == (0, "warning")
    assert found["tls"]["found"].endswith("certificate valid for 3 more days")


@pytest.mark.parametrize(
    ("certificate", "complaint"),
    [
        ((False, "localhost", None), "unable to get local issuer certificate|self.signed"),
        ((True, "other.test", None), "[Hh]ostname mismatch"),
        ((True, "localhost", NOW - dt.timedelta(days=1)), "expired"),
    ],
)
def test_finds_a_certificate_that_is_not_trusted(examine, authority, trust, certificate, complaint):
    """A certificate of nobody, for somebody else or out of date is a problem, with its reason."""
    is_trusted, name, end = certificate
    trust(authority if is_trusted else trustme.CA())
    with answering(context=server_context(authority, name, not_after=end)) as (url, _):
        code, found = examine(url)

    assert (code, found["tls"]["result"], list(found)[-1]) == (8, "problem", "tls")
    assert re.search(complaint, found["tls"]["found"])


def test_finds_that_there_is_no_tls(examine):
    """A server that speaks plain http is a problem."""
    with answering() as (url, _):
        code, found = examine(url.replace("http://", "https://"))

    assert (code, found["tls"]["result"]) == (8, "problem")
    assert "cannot connect to localhost with TLS" in found["tls"]["found"]


def test_finds_certificates_that_cannot_be_read(examine, monkeypatch, tmp_path):
    """A file of trusted certificates that is none is a problem."""
    (tmp_path / "ca.pem").write_text("none", "utf-8")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with answering() as (url, _):
        code, found = examine(url.replace("http://", "https://"))

    assert code == 8
    assert found["tls"]["advice"] == "correct SSL_CERT_FILE or SSL_CERT_DIR, or unset them"


# --- The service -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "headers", "result", "advice"),
    [
        (200, {}, "ok", ""),
        (200, {"Content-Type": "text/html"}, "warning", "seems to be a web page"),
        (404, {}, "warning", "a gateway or fake may lack this endpoint"),
        (302, {"Location": "https://x.test"}, "warning", "check the base URL"),
        (407, {}, "problem", "add the user name"),
        (503, {}, "problem", "the service has a problem"),
    ],
)
def test_judges_what_the_service_answers(examine, status, headers, result, advice):
    """Each kind of answer has a result and an advice."""
    with answering(status, headers) as (url, _):
        code, found = examine(url)

    assert (code, found["service"]["result"]) == (8 if result == "problem" else 0, result)
    assert advice in found["service"]["advice"]
    assert found["service"]["found"].startswith(f"GET /error_codes answered {status} after ")


def test_finds_that_nobody_is_there(examine):
    """A port that nobody listens on is a problem."""
    with answering() as (url, _):
        pass

    code, found = examine(url)

    assert (code, found["service"]["result"]) == (8, "problem")
    assert "no answer: " in found["service"]["found"]


@pytest.mark.parametrize(("hours", "told"), [(-2, r"7[12]\d\d s ahead of"), (2, r"7[12]\d\d s behind")])
def test_compares_the_clocks(examine, hours, told):
    """A clock that is wrong is a warning."""
    theirs = dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=hours)
    with answering(headers={"Date": format_datetime(theirs)}) as (url, _):
        code, found = examine(url)

    assert (code, found["clock"]["result"]) == (0, "warning")
    assert re.search(told, found["clock"]["found"])


@pytest.mark.parametrize("date", [None, "soon"])
def test_clocks_need_two(examine, date):
    """Where the service tells no time, there is nothing to compare."""
    with answering(headers={"Date": date} if date else {}) as (url, _):
        code, found = examine(url)

    assert (code, found["clock"]["result"]) == (0, "skipped")
    assert "has no date" in found["clock"]["found"]


def test_shows_results_in_colours(capsys, monkeypatch):
    """Where colours are wanted, a problem is red."""
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("FETCH_HIVE_API_KEY")

    main(["doctor", "--offline"])

    assert "\033[31mproblem \033[0m key" in capsys.readouterr().out
