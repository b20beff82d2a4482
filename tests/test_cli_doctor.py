"""`fetch-hive doctor`: a line for each check, with advice for each problem."""

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

from fetch_hive_sdk._net import tls
from fetch_hive_sdk.cli import main

KEY = "fhk_0123456789"
NOW = dt.datetime.now(dt.timezone.utc)


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    tls._make_tls_context.cache_clear()
    monkeypatch.setenv("FETCH_HIVE_API_KEY", KEY)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    yield
    tls._make_tls_context.cache_clear()


@contextmanager
def answering(status=200, headers=None, context=None):
    """Serve answers on a loopback port; yield the base URL and the received requests."""
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
            """Ignore clients that reject the certificate."""

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
    """Run the doctor for a base URL; return the exit code and the findings by check."""

    def examine(url=None, *options):
        if url is not None:
            monkeypatch.setenv("FETCH_HIVE_BASE_URL", url)
        code = main(["doctor", "--json", *options])
        report = json.loads(capsys.readouterr().out)
        assert report["ok"] is (code == 0)
        return code, {finding["check"]: finding for finding in report["checks"]}

    return examine


def results(found):
    return {check: finding["result"] for check, finding in found.items()}


def test_no_problems_exit_with_0(capsys, monkeypatch):
    """There is a line for each check, in columns."""
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


def test_offline_uses_no_network(examine, monkeypatch):
    """`--offline` checks only this machine."""

    def nothing(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", nothing)

    code, found = examine("https://nowhere.test/v1", "--offline")

    assert code == 0
    assert results(found)["network"] == "skipped"


def test_default_base_url_is_the_service(examine):
    """Without a setting, the base URL is that of the service."""
    _, found = examine(None, "--offline")

    assert found["base URL"]["found"] == "https://api.fetchhive.com/v1, the default"


def test_prints_the_versions(examine):
    """One line has all versions for a bug report."""
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
def test_invalid_key_is_a_problem(examine, monkeypatch, key, complaint):
    """A missing or invalid key is a problem, and is not shown."""
    monkeypatch.setenv("FETCH_HIVE_API_KEY", key)

    code, found = examine(None, "--offline")

    assert (code, found["key"]["result"]) == (8, "problem")
    assert complaint in found["key"]["found"]
    assert "123456" not in json.dumps(found)


def test_key_is_not_shown(examine, monkeypatch):
    """Of a key without the usual prefix, only the length is shown."""
    monkeypatch.setenv("FETCH_HIVE_API_KEY", "secret-of-ada")

    _, found = examine(None, "--offline")

    assert found["key"]["found"] == "FETCH_HIVE_API_KEY is ***, 13 characters long"


@pytest.mark.parametrize("url", ["ftp://x", "http://example.test/v1", "https://ada:secret@x.test", "x"])
def test_invalid_base_url_is_a_problem(examine, url):
    """Its password is not shown, and the network checks are skipped."""
    code, found = examine(url)

    assert (code, found["base URL"]["result"], found["network"]["result"]) == (8, "problem", "skipped")
    assert "secret" not in json.dumps(found)


@pytest.mark.parametrize(
    ("variables", "result", "expected"),
    [
        ({}, "ok", "none"),
        ({"HTTPS_PROXY": "http://ada:secret@x.test:1"}, "ok", "from HTTPS_PROXY"),
        ({"ALL_PROXY": "http://x.test", "NO_PROXY": "y.test"}, "ok", "from ALL_PROXY, except for NO_PROXY"),
        ({"HTTP_PROXY": "nonsense:::secret"}, "problem", "HTTP_PROXY is not the URL of a proxy"),
        ({"https_proxy": "ftp://ada:secret@x"}, "problem", "https_proxy is not the URL of a proxy"),
        ({"ALL_PROXY": "http://x.test", "no_proxy": "a:b"}, "problem", "NO_PROXY has an entry that is not a host name"),
    ],
)
def test_checks_the_proxies(examine, monkeypatch, variables, result, expected):
    """The effective variables are named, invalid ones are a problem, and no password is shown."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    code, found = examine(None, "--offline")

    assert (code == 0, found["proxy"]["result"]) == (result == "ok", result)
    assert found["proxy"]["found"].startswith(expected)
    assert "secret" not in json.dumps(found)


def test_socks_proxy_needs_its_package(examine, monkeypatch):
    """The missing package is named."""
    monkeypatch.setitem(__import__("sys").modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")

    code, found = examine(None, "--offline")

    assert code == 8
    assert "needs one more package" in found["proxy"]["found"]


def test_uses_the_proxy(examine, monkeypatch):
    """Behind a proxy, name and certificate are not checked."""
    with answering(407) as (proxy, asked):
        monkeypatch.setenv("HTTPS_PROXY", proxy.replace("/v1", ""))
        monkeypatch.setenv("FETCH_HIVE_API_KEY", KEY)
        code, found = examine("https://service.test/v1")

    assert (code, found["dns"]["result"], found["tls"]["result"]) == (8, "skipped", "skipped")
    assert "407" in found["service"]["found"]
    assert asked[0][0] == "service.test:443"


def test_bypasses_the_proxy_for_this_machine(examine, monkeypatch):
    """A service on this machine is called without a proxy, as by all calls."""
    with answering() as (proxy, asked_proxy), answering() as (url, asked):
        monkeypatch.setenv("HTTP_PROXY", proxy.replace("/v1", ""))
        code, found = examine(url)

    assert (code, found["dns"]["result"], len(asked), asked_proxy) == (0, "ok", 1, [])


@pytest.mark.parametrize("exception", ["", "[::1]"])
def test_ipv6_address_is_called(examine, monkeypatch, exception):
    """Brackets, in the base URL or in an unused NO_PROXY, are not an error of the program."""
    monkeypatch.setenv("NO_PROXY", exception)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]

    code, found = examine(f"http://[::1]:{port}/v1")

    assert (code, found["dns"]["found"]) == (8, "::1 is an IP address")
    assert found["service"]["found"].startswith("no answer: ")


def test_unknown_host_is_a_problem(examine, monkeypatch):
    """A name that cannot be resolved ends the network checks."""

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
    """Trust the certificates of one authority only."""

    def trust(authority):
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    return trust


def test_trusted_certificate_is_ok(examine, authority, trust):
    """The remaining validity of the certificate is printed."""
    trust(authority)
    with answering(context=server_context(authority, "localhost")) as (url, _):
        code, found = examine(url)

    assert (code, found["tls"]["result"], found["service"]["result"]) == (0, "ok", "ok")
    assert re.fullmatch(r"TLSv1\.\d, certificate valid for \d+ more days", found["tls"]["found"])


def test_expiring_certificate_is_a_warning(examine, authority, trust):
    """A certificate near its end is a warning, not a problem."""
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
def test_untrusted_certificate_is_a_problem(examine, authority, trust, certificate, complaint):
    """A self-signed certificate, one for another host or an expired one is a problem with its reason."""
    is_trusted, name, end = certificate
    trust(authority if is_trusted else trustme.CA())
    with answering(context=server_context(authority, name, not_after=end)) as (url, _):
        code, found = examine(url)

    assert (code, found["tls"]["result"], list(found)[-1]) == (8, "problem", "tls")
    assert re.search(complaint, found["tls"]["found"])


def test_missing_tls_is_a_problem(examine):
    """A server that uses plain http is a problem."""
    with answering() as (url, _):
        code, found = examine(url.replace("http://", "https://"))

    assert (code, found["tls"]["result"]) == (8, "problem")
    assert "cannot connect to localhost with TLS" in found["tls"]["found"]


@pytest.mark.parametrize("content", ["none", None])
def test_invalid_certificate_file_is_a_problem(examine, monkeypatch, tmp_path, content):
    """An invalid or missing SSL_CERT_FILE is a problem."""
    if content:
        (tmp_path / "ca.pem").write_text(content, "utf-8")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with answering() as (url, _):
        code, found = examine(url.replace("http://", "https://"))

    assert code == 8
    assert found["tls"]["found"].startswith("SSL_CERT_FILE in the environment does not name trusted certificates")


def test_http_needs_no_certificates(examine, monkeypatch, tmp_path):
    """As for all calls."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with answering() as (url, _):
        code, found = examine(url)

    assert (code, found["tls"]["result"], found["service"]["result"]) == (0, "skipped", "ok")


def test_invalid_certificate_file_behind_a_proxy_is_a_problem(examine, monkeypatch, tmp_path):
    """The check of TLS is skipped there."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")

    code, found = examine("https://service.test/v1")

    assert code == 8
    assert "SSL_CERT_FILE in the environment does not name" in found["service"]["found"]


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
def test_rates_the_answer_of_the_service(examine, status, headers, result, advice):
    """Each kind of answer has a result and advice."""
    with answering(status, headers) as (url, _):
        code, found = examine(url)

    assert (code, found["service"]["result"]) == (8 if result == "problem" else 0, result)
    assert advice in found["service"]["advice"]
    assert found["service"]["found"].startswith(f"GET /error_codes answered {status} after ")


def test_closed_port_is_a_problem(examine):
    """A port without a server is a problem."""
    with answering() as (url, _):
        pass

    code, found = examine(url)

    assert (code, found["service"]["result"]) == (8, "problem")
    assert "no answer: " in found["service"]["found"]


@pytest.mark.parametrize(("hours", "expected"), [(-2, r"7[12]\d\d s ahead of"), (2, r"7[12]\d\d s behind")])
def test_compares_the_clocks(examine, hours, expected):
    """A clock that differs is a warning."""
    theirs = dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=hours)
    with answering(headers={"Date": format_datetime(theirs)}) as (url, _):
        code, found = examine(url)

    assert (code, found["clock"]["result"]) == (0, "warning")
    assert re.search(expected, found["clock"]["found"])


@pytest.mark.parametrize("date", [None, "soon"])
def test_clock_check_needs_a_date(examine, date):
    """Without a Date header, the check is skipped."""
    with answering(headers={"Date": date} if date else {}) as (url, _):
        code, found = examine(url)

    assert (code, found["clock"]["result"]) == (0, "skipped")
    assert "has no date" in found["clock"]["found"]


def test_shows_results_in_colours(capsys, monkeypatch):
    """With colours, a problem is red."""
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("FETCH_HIVE_API_KEY")

    main(["doctor", "--offline"])

    assert "\033[31mproblem \033[0m key" in capsys.readouterr().out
