"""The example for Sentry on the page on telemetry: it runs with the real package, against a fake Sentry."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from fetch_hive_sdk.testing import TEST_KEY
from recipes import skip_unless_installed

skip_unless_installed("sentry_sdk.integrations.otlp")

PROGRAM = """
from recipes import recipe

recipe("telemetry.md", "Sentry").client.invoke_prompt(deployment="summarise")

from opentelemetry import trace

trace.get_tracer_provider().force_flush()
"""


@pytest.fixture
def sentry():
    """The bodies of the requests, by path, and the DSN."""
    bodies: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            bodies[self.path] = gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield bodies, f"http://key@127.0.0.1:{server.server_port}/1"
        server.shutdown()
        thread.join()


def test_sentry_receives_the_span_of_a_call(sentry, fetch_hive):
    """In another process, because the example sets global providers."""
    bodies, dsn = sentry
    fetch_hive.answers("summarise", "Short.")
    environment = {
        **os.environ,
        "SENTRY_DSN": dsn,
        "FETCH_HIVE_API_KEY": TEST_KEY,
        "FETCH_HIVE_BASE_URL": fetch_hive.url,
        "PYTHONPATH": str(Path(__file__).parent.parent),
    }

    subprocess.run([sys.executable, "-c", PROGRAM], check=True, env=environment)

    (body,) = bodies.values()
    assert b"chat summarise" in body
    assert b"gen_ai.usage.input_tokens" in body
