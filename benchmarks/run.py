"""Measure every client in every scenario, in turn, and write the results as Markdown and JSON.

`nox -s bench` creates the environments and runs this module; see README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path

import certifi
import trustme

from report import write_report
from scenarios import CLIENTS, ENVIRONMENT_OF, Scenario, scenarios

HERE = Path(__file__).parent
_QUICK_ROUNDS = 3


class Service:
    """The fake service, in its own process."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        certificate = folder / "service.pem"
        authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        # Together with the usual authorities: reading those is most of the cost of a TLS context.
        self.authorities = folder / "authorities.pem"
        self.authorities.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
        command = [sys.executable, str(HERE / "server.py"), str(certificate)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._ports = json.loads(self._process.stdout.readline())
        self._stats = HTTPConnection("127.0.0.1", self._ports["http"])

    def url(self, scheme: str, answer: str) -> str:
        """Return the base URL at which the service gives this answer."""
        return f"{scheme}://127.0.0.1:{self._ports[scheme]}/{answer}"

    def stats(self) -> dict[str, float]:
        """Return the CPU seconds and the number of connections of the service so far."""
        self._stats.request("GET", "/stats")
        return json.loads(self._stats.getresponse().read())

    def close(self) -> None:
        """End the process."""
        self._stats.close()
        self._process.communicate()


class Worker:
    """A client in its own process."""

    def __init__(self, name: str, python: str, environ: dict[str, str]) -> None:
        command = [python, str(HERE / "worker.py"), name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)
        self.about = self._answer()

    def ask(self, **command: object) -> dict[str, float]:
        """Send a command to the worker and return its figures."""
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": "the process ended"}

    def close(self) -> None:
        """Let the process end."""
        self._process.communicate()

    def kill(self) -> None:
        """End the process immediately."""
        self._process.kill()
        self._process.communicate()


class Run:
    """All measurements. `results` has the figures of each round, by scenario and client."""

    def __init__(self, pythons: dict[str, str], service: Service, *, is_quick: bool) -> None:
        self._pythons = pythons
        self._service = service
        self._is_quick = is_quick
        # Use no proxy, and trust the authority that signed the service's certificate.
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        self._environ = {**kept, "SSL_CERT_FILE": str(service.authorities)}
        self._workers: dict[str, Worker] = {}
        self._order = random.Random(20)
        self.results: dict[str, dict[str, list[dict[str, float]]]] = {}
        self.notes: list[str] = []

    def measure(self, scenario: Scenario) -> None:
        """Measure all clients of a scenario in rounds, each in a different order; the first round is a warm-up."""
        names = [name for name in scenario.clients if self._is_there(name, scenario)]
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for number in range((_QUICK_ROUNDS if self._is_quick else scenario.rounds) + 1):
            for name in self._order.sample(names, len(names)):
                figures = self._once(name, scenario)
                if "error" in figures:
                    self._note(f"{scenario.name}: {CLIENTS[name].title}: {figures['error']}")
                    names.remove(name)
                    del rounds[name]
                    self._workers.pop(name).kill()  # the rest of its work must not disturb the next measurement
                elif number:
                    rounds[name].append(figures)
        for name in names:
            if name in self._workers:
                self._workers[name].ask(do="close")
        self.results[scenario.name] = rounds

    def _once(self, name: str, scenario: Scenario) -> dict[str, float]:
        if scenario.do == "import":
            return self._import(name)
        command = {"do": scenario.do, "url": self._service.url(scenario.scheme, scenario.answer), **scenario.options}
        if "long_answer" in command:
            command["long_url"] = self._service.url(scenario.scheme, command.pop("long_answer"))
        if name in scenario.fewer:
            command["count"] = scenario.fewer[name]
        worker = self._start(name) if scenario.is_fresh else self._workers[name]
        if scenario.is_reopened:
            worker.ask(do="close")
        before = self._service.stats()
        figures = worker.ask(**command)
        after = self._service.stats()
        if scenario.is_fresh:
            worker.close()
        if "units" in figures:
            figures["server"] = (after["cpu"] - before["cpu"]) / figures["units"]
            figures["connections"] = (after["connections"] - before["connections"]) / command.get("count", 1)
        return figures

    def _import(self, name: str) -> dict[str, float]:
        code = f"from time import process_time as now\nbegin = now()\n{CLIENTS[name].imports}\nprint(now() - begin)"
        begin = time.perf_counter()
        python = self._pythons[ENVIRONMENT_OF.get(name, name)]
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, env=self._environ)
        return {"cpu": float(done.stdout), "wall": time.perf_counter() - begin}

    def _is_there(self, name: str, scenario: Scenario) -> bool:
        if scenario.do == "import":
            return True
        if name not in self._workers:
            self._workers[name] = self._start(name)
            skip = self._workers[name].about.get("skip")
            if skip:
                self._note(f"{CLIENTS[name].title}: skipped: {skip}")
        return not self._workers[name].about.get("skip")

    def _start(self, name: str) -> Worker:
        return Worker(name, self._pythons[ENVIRONMENT_OF.get(name, name)], self._environ)

    def _note(self, note: str) -> None:
        self.notes.append(note)
        print(f"  {note}", flush=True)

    def versions(self) -> dict[str, dict[str, str]]:
        """Return the installed versions for each client."""
        return {name: worker.about.get("versions", {}) for name, worker in self._workers.items()}

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers.values():
            worker.close()


def main() -> None:
    """Measure the chosen scenarios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three rounds, without the long scenarios")
    parser.add_argument(
        "--only", action="append", metavar="WORD", help="scenarios with this word in their group or name"
    )
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="where to write (bench-results)")
    parser.add_argument("--pythons", type=Path, required=True, help="a JSON file: client to Python interpreter")
    parser.add_argument("--list", action="store_true", help="only list the scenarios")
    options = parser.parse_args()
    chosen = [
        scenario
        for scenario in scenarios()
        if not (options.quick and scenario.is_long)
        and (not options.only or any(word in f"{scenario.group} {scenario.name}" for word in options.only))
    ]
    if options.list or not chosen:
        print(*(f"{scenario.group:8}{scenario.name}" for scenario in chosen or scenarios()), sep="\n")
        sys.exit(0 if chosen else "no scenario contains this word")
    _measure(chosen, options)


def _measure(chosen: list[Scenario], options: argparse.Namespace) -> None:
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        service = Service(Path(folder))
        stack.callback(service.close)
        run = Run(json.loads(options.pythons.read_text("utf-8")), service, is_quick=options.quick)
        stack.callback(run.close)
        for number, scenario in enumerate(chosen, 1):
            print(f"{time.monotonic() - begin:4.0f} s  {number}/{len(chosen)}  {scenario.name}", flush=True)
            run.measure(scenario)
        about = {
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "quick": options.quick,
            "seconds": round(time.monotonic() - begin),
            "versions": run.versions(),
            "notes": run.notes,
        }
    options.out.mkdir(parents=True, exist_ok=True)
    print(write_report(options.out, chosen, run.results, about))


if __name__ == "__main__":
    main()
