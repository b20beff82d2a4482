"""The writer of cassettes: calls are written when they end, and errors do not lose other calls."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap

import httpx
import pytest

from fetch_hive_sdk import FetchHive
from fetch_hive_sdk.testing import FakeServer, record, recording_proxy
from fetch_hive_sdk.testing import _cassette_writer as writer_module
from fetch_hive_sdk.testing._cassette import RecordedAnswer, RecordedCall, RecordedRequest, read_file
from fetch_hive_sdk.testing._cassette_writer import CassetteWriter
from fetch_hive_sdk.testing._server import serve

not_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="Windows has its own idea of modes and links")


def call(name):
    return RecordedCall(
        request=RecordedRequest(method="POST", path="/x", body={"deployment": name}),
        response=RecordedAnswer(status=200, body={}),
    )


def names_in(file):
    return [recorded.request.body["deployment"] for recorded in read_file(file)]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "c.json"


@pytest.fixture
def client():
    return FakeServer("Yes.").client()


def test_call_is_written_when_it_ends(file, client):
    """Calls are written before the end of the block."""
    with record(file, client):
        for name in "ab":
            client.invoke_prompt(deployment=name)
            seen = names_in(file)

    assert seen == names_in(file) == ["a", "b"]


def test_stream_is_written_when_it_ends(drive, file):
    """A stream is written at its end, or when its reader stops."""
    client = FakeServer("one two").client()

    with record(file, client):
        drive.collect(client, deployment="a")
        drive.leave(client, 1, deployment="b")
        seen = names_in(file)

    assert seen == ["a", "b"]
    assert [recorded.response.ended for recorded in read_file(file)] == [None, "left"]


def test_older_recording_stays_until_the_first_call(file, client):
    """A block that fails before its first answer does not change the file."""
    with CassetteWriter(file) as writer:
        writer.append(call("old"))

    with record(file, client):
        before = names_in(file)
        client.invoke_prompt(deployment="new")

    assert (before, names_in(file)) == (["old"], ["new"])


def test_new_file_without_calls_is_removed(tmp_path, file):
    """No empty file and no broken link remains."""
    with CassetteWriter(file):
        pass
    link = tmp_path / "link.json"
    link.symlink_to(file)
    with CassetteWriter(link):
        pass

    assert list(tmp_path.iterdir()) == [link]


def test_second_recorder_is_rejected(file, client):
    """Two recorders would overwrite each other's calls, so the second is rejected, also across processes."""
    other = FakeServer("Yes.").client()

    with record(file, client):
        client.invoke_prompt(deployment="first")
        with pytest.raises(OSError, match="another recorder is writing to this cassette"), record(file, other):
            pass
        with pytest.raises(OSError, match="another recorder"), recording_proxy(file, "https://x.test"):
            pass

    with record(file, other):
        other.invoke_prompt(deployment="second")
    assert names_in(file) == ["second"]


@pytest.mark.parametrize("ends", [True, False])
def test_removed_file_is_created_again(file, ends):
    """A recorder that starts while another ends does not write to its removed file."""
    first = CassetteWriter(file)
    real = writer_module._lock

    def lock(descriptor):
        if ends and not first._is_closed:
            first.__exit__(None, None, None)
        real(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_module, "_lock", lock)
        if ends:
            with CassetteWriter(file) as second:
                second.append(call("a"))
            assert names_in(file) == ["a"]
        else:
            with pytest.raises(BlockingIOError):
                CassetteWriter(file)
            first.__exit__(None, None, None)


@not_on_windows
@pytest.mark.parametrize("at_once", [True, False])
def test_links_and_modes_are_preserved(tmp_path, at_once):
    """The target of a link is written with its mode, also when calls are sorted."""
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_text("", "utf-8")
    real.chmod(0o640)
    link.symlink_to(real)

    with CassetteWriter(link) as writer:
        writer.append(call("b"), started=1, ended=4, sort_key="b")
        writer.append(call("a"), started=2 if at_once else 5, ended=6, sort_key="a")

    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert names_in(real) == (["a", "b"] if at_once else ["b", "a"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "real.json"]


@pytest.mark.parametrize("older", [b"", b'{"fetch_hive_cassette": 1, "calls": []}\n'])
@pytest.mark.parametrize("calls_before", [0, 1])
def test_failed_write_keeps_earlier_calls(file, monkeypatch, older, calls_before):
    """A full disk loses no recorded call, breaks no billed call, and is an error at the end."""
    if older:
        file.write_bytes(older)
    client = FakeServer("Yes.").client()
    write = os.write
    state = {"full": False}

    def write_until_full(descriptor, data):
        if not state["full"] or bytes(data) == older:
            return write(descriptor, data)
        write(descriptor, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write_until_full)

    with pytest.raises(OSError, match="No space left"), record(file, client):  # noqa: PT012 - all of it is one block
        for name in "ab"[:calls_before]:
            client.invoke_prompt(deployment=name)
        kept = file.read_bytes()
        state["full"] = True
        assert client.invoke_prompt(deployment="lost").response == "Yes."
        assert client.invoke_prompt(deployment="lost, too").response == "Yes."
        assert file.read_bytes() == kept

    assert (file.read_bytes() if file.exists() else b"") == kept
    assert [path for path in file.parent.iterdir() if path != file] == []


def test_error_of_the_block_takes_precedence(file, client, monkeypatch):
    """A write error does not hide the error of the program."""

    def fail(*args):
        raise OSError(28, "No space left on device")

    with pytest.raises(KeyError), record(file, client):  # noqa: PT012 - all of it is one block
        monkeypatch.setattr(os, "write", fail)
        client.invoke_prompt(deployment="a")
        raise KeyError


def test_interrupted_write_keeps_the_file_valid(file, monkeypatch):
    """Ctrl-C during a write leaves no incomplete line."""
    write = os.write

    def interrupt(descriptor, data):
        write(descriptor, data[:10])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), CassetteWriter(file) as writer:  # noqa: PT012 - all of it is one block
        writer.append(call("a"))
        monkeypatch.setattr(os, "write", interrupt)
        writer.append(call("b"))

    assert names_in(file) == ["a"]


@not_on_windows
def test_failed_sorting_keeps_the_calls(file, monkeypatch):
    """The file then has all calls in the order of their ends, and no other file remains."""

    def fail(*args):
        raise OSError(28, "No space left on device")

    with CassetteWriter(file) as writer:
        writer.append(call("b"), started=1, ended=4, sort_key="b")
        writer.append(call("a"), started=2, ended=5, sort_key="a")
        monkeypatch.setattr(writer_module.shutil, "copymode", fail)

    assert names_in(file) == ["b", "a"]
    assert list(file.parent.iterdir()) == [file]


def test_call_is_not_recorded_after_the_block(file):
    """Only the part of a stream received in the block is recorded."""
    client = FakeServer("one two").client()

    with record(file, client):
        stream = client.invoke_prompt_stream(deployment="d")
        next(stream)
    kept = file.read_bytes()
    assert stream.collect().response == "one two"

    assert file.read_bytes() == kept
    (recorded,) = read_file(file)
    assert (len(recorded.response.events), recorded.response.ended) == (1, "left")


@not_on_windows
@pytest.mark.parametrize("number", [9, signal.SIGTERM])
def test_killed_program_loses_only_open_calls(file, number):
    """Ended calls are in the file however the program ends, and the next recorder can start at once."""
    code = f"""
        import os, sys
        from fetch_hive_sdk.testing import FakeServer, record

        client = FakeServer("one two").client()
        with record({os.fspath(file)!r}, client):
            client.invoke_prompt(deployment="a")
            client.invoke_prompt_stream(deployment="b").collect()
            next(client.invoke_prompt_stream(deployment="under way"))
            os.kill(os.getpid(), {int(number)})
    """

    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)

    assert done.returncode == -number
    assert names_in(file)[:2] == ["a", "b"]
    with CassetteWriter(file) as writer:
        writer.append(call("next"))
    assert names_in(file) == ["next"]


def run(code):
    return subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(code)], check=True)


@not_on_windows
def test_forked_processes_record_to_the_same_file(file):
    """Only the process that opened the cassette removes the older recording, once, and closes the cassette."""
    with CassetteWriter(file) as writer:
        writer.append(call("old"))

    run(f"""
        import os, sys
        from fetch_hive_sdk.testing import FakeServer, record

        def fork(*names):
            if not os.fork():
                for name in names:
                    client.invoke_prompt(deployment=name)
                sys.exit()
            os.wait()

        client = FakeServer("one two").client()
        with record({os.fspath(file)!r}, client):
            stream = client.invoke_prompt_stream(deployment="stream")
            next(stream)
            fork("a", "a long name")
            client.invoke_prompt(deployment="b")
            fork("c")
            client.invoke_prompt(deployment="d")
            stream.collect()
    """)

    assert names_in(file) == ["a", "a long name", "b", "c", "d", "stream"]


@not_on_windows
@pytest.mark.parametrize("has_older", [True, False])
def test_processes_forked_before_the_first_call_lose_nothing(file, has_older):
    """The first one removes the older recording, and the others wait for it."""
    if has_older:
        with CassetteWriter(file) as writer:
            writer.append(call("old"))

    run(f"""
        import os
        from fetch_hive_sdk.testing import FakeServer, record

        client = FakeServer("Yes.").client()
        with record({os.fspath(file)!r}, client):
            for name in "abcd":
                if not os.fork():
                    for number in range(5):
                        client.invoke_prompt(deployment=f"{{name}}{{number}}")
                    os._exit(0)
            for _ in "abcd":
                os.wait()
    """)

    assert sorted(names_in(file)) == [f"{name}{number}" for name in "abcd" for number in range(5)]


@not_on_windows
@pytest.mark.parametrize("calls", [0, 1])
def test_removed_folder_does_not_hide_the_error_of_the_block(file, calls):
    """The file is closed all the same."""
    with pytest.raises(KeyError, match="mine"), CassetteWriter(file.parent / "new" / "c.json") as writer:  # noqa: PT012 - all of it is one block
        for _ in range(calls):
            writer.append(call("a"))
        shutil.rmtree(file.parent / "new")
        raise KeyError("mine")

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writer._file)


@not_on_windows
def test_removed_file_is_reported_if_calls_are_lost(file):
    """Its calls have been paid for."""
    with pytest.raises(FileNotFoundError, match="the file was removed"), CassetteWriter(file) as writer:  # noqa: PT012 - all of it is one block
        writer.append(call("a"))
        file.unlink()
    with CassetteWriter(file):
        file.unlink()

    assert not file.exists()


# --- The proxy ------------------------------------------------------------------------------------------------------


def test_proxy_does_not_share_cookies(file):
    """Cookies for one caller are not sent with the calls of another."""
    seen = []

    def handle(request):
        seen.append(request.headers.get("cookie"))
        headers = [("Set-Cookie", "session=secret; Path=/"), ("Set-Cookie", "other=1")]
        return httpx.Response(200, headers=headers, json={"response": "Yes."})

    with serve(handle) as url, recording_proxy(file, f"{url}/v1") as proxy:
        with FetchHive("fhk_one", proxy.url) as one, FetchHive("fhk_another", proxy.url) as another:
            one.invoke_prompt(deployment="d")
            another.invoke_prompt(deployment="d")
        answer = httpx.post(f"{proxy.url}/invoke", headers={"Cookie": "mine=1"}, trust_env=False)

    assert seen == [None, None, "mine=1"]
    assert answer.headers.get_list("set-cookie") == ["session=secret; Path=/", "other=1"]


def test_proxy_adds_no_headers(file):
    """The service gets the caller's headers; the proxy changes only the compression."""
    seen = []

    def handle(request):
        seen.extend(request.headers.raw)
        return httpx.Response(200, json={"response": "Yes."})

    with serve(handle) as url, recording_proxy(file, f"{url}/v1") as proxy:
        address = httpx.URL(proxy.url)
        with socket.create_connection((address.host, address.port), timeout=10) as connection:
            connection.sendall(
                b"POST /v1/invoke HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 2\r\n\r\n{}"
            )
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")

    names = [name.lower() for name, _ in seen]
    assert sorted(set(names)) == [b"accept-encoding", b"content-length", b"host", b"x-a"]
    assert [value for name, value in seen if name.lower() == b"x-a"] == [b"1", b"2"]


def test_proxy_rejects_lone_carriage_returns(file):
    """Such a header would be two headers for the next server."""
    seen = []
    with serve(seen.append) as url, recording_proxy(file, f"{url}/v1") as proxy:
        address = httpx.URL(proxy.url)
        with socket.create_connection((address.host, address.port), timeout=10) as connection:
            connection.sendall(b"POST /v1/invoke HTTP/1.1\r\nHost: x\r\nX-A: a\rX-B: b\r\nContent-Length: 2\r\n\r\n{}")
            assert connection.recv(100).startswith(b"HTTP/1.1 400 ")

    assert seen == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_proxy_bypasses_other_proxies_for_local_services(file, monkeypatch, host):
    """Calls to a service on this machine do not leave it."""
    asked = []
    with serve(asked.append) as other, FakeServer("Yes.").serve() as url:
        for name in ("HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, other)
        with recording_proxy(file, url.replace("127.0.0.1", host)) as proxy:
            answer = httpx.post(
                f"{proxy.url}/invoke",
                json={"deployment": "d"},
                headers={"Authorization": "Bearer fhk_0123456789"},
                trust_env=False,
            )

    assert answer.json()["response"] == "Yes."
    assert asked == []
