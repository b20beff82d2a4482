"""A service in a separate process that counts its runs and survives when a test kills the job.

    python counting_server.py --delay 0.05 --at-once 64

prints the port. `GET /stats` returns how often each text was run, and `GET /reset` sets the counts to zero. A text that
begins with "held" is answered after `GET /release`. Does not import the package.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import urllib.request
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

OPTIONS = argparse.ArgumentParser()
OPTIONS.add_argument("--delay", type=float, default=0.0)
OPTIONS.add_argument("--at-once", type=int, default=0)
OPTIONS.add_argument("--retry-after", default="0")
OPTIONS.add_argument("--padding", type=int, default=0)
OPTIONS.add_argument("--anonymous", action="store_true", help="do not record the texts")


class Service:
    def __init__(self, options):
        self.options = options
        self.reset()

    def reset(self):
        self.runs = Counter()
        self.posts = self.refused = self.under_way = self.peak = 0
        self.released = asyncio.Event()

    def stats(self):
        return {"runs": self.runs, "posts": self.posts, "refused": self.refused, "peak": self.peak}


class Connection(asyncio.Protocol):
    def __init__(self, service):
        self.service = service
        self.data = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data
        head, mark, body = self.data.partition(b"\r\n\r\n")
        if not mark:
            return
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        if len(body) >= length:
            self.data = body[length:]
            self.take(head, body[:length])

    def take(self, head, body):
        service, options = self.service, self.service.options
        if head.startswith(b"GET"):
            if b"/reset" in head.split(b"\r\n")[0]:
                service.reset()
            if b"/release" in head.split(b"\r\n")[0]:
                service.released.set()
            self.send(200, service.stats())
            return
        service.posts += 1
        if options.at_once and service.under_way >= options.at_once:
            service.refused += 1
            self.send(429, {"error": "slow down"}, f"Retry-After: {options.retry_after}\r\n")
            return
        text = "" if options.anonymous else json.loads(body)["inputs"]["text"]
        service.runs[text] += 1
        service.under_way += 1
        service.peak = max(service.peak, service.under_way)
        if text.startswith("held") and not service.released.is_set():
            task = asyncio.ensure_future(service.released.wait())
            task.add_done_callback(lambda _: self.answer(text))
        elif options.delay:
            asyncio.get_running_loop().call_later(options.delay, self.answer, text)
        else:
            self.answer(text)

    def answer(self, text):
        self.service.under_way -= 1
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        response = "x" * self.service.options.padding
        answer = {"request_id": f"req_{text}", "model": "fake", "response": response, "usage": usage}
        self.send(200, answer)

    def send(self, status, value, headers=""):
        if self.transport.is_closing():
            return
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self.transport.write(head.encode() + body)


async def main():
    service = Service(OPTIONS.parse_args())
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(service), "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    # The parent holds the other end of stdin: the server ends when the parent does.
    await loop.run_in_executor(None, sys.stdin.read)


class Served:
    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}/v1"

    def ask(self, path):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.url}{path}") as answer:
            return json.load(answer)

    def stats(self):
        return self.ask("/stats")

    def reset(self):
        self.ask("/reset")

    def release(self):
        self.ask("/release")


@contextmanager
def counting(*options):
    """Run the server in a separate process until the block ends."""
    command = [sys.executable, str(Path(__file__)), *map(str, options)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Served(int(process.stdout.readline()))
        finally:
            process.communicate()


if __name__ == "__main__":
    asyncio.run(main())
