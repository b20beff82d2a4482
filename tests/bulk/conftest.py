"""A fixture for tests that start jobs as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import ExitStack, suppress

import pytest


@pytest.fixture
def start_process():
    """Start processes with pipes. Those that still run at the end of the test are killed, with their group if any."""

    def start(command, *, start_new_session=False, **options):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, start_new_session=start_new_session, **pipes, **options)
        stack.enter_context(process)
        stack.callback(process.kill)
        if start_new_session:
            stack.callback(kill_group, process.pid)
        return process

    with ExitStack() as stack:
        yield start


def kill_group(number):
    with suppress(ProcessLookupError, PermissionError):  # it has ended
        os.killpg(number, signal.SIGKILL)
