# SPDX-License-Identifier: Apache-2.0
"""percore_process: a percore server of its own for a test, on a free port, ended with the test."""
import os
import re
import signal
import socket
import subprocess
import time

SECONDS = 60


def sanitizer():
    """What the program under test was built with: "address", "thread" or None. Under either, memory
    says nothing about the program: its shadow is several times as large."""
    with open(os.environ["PERCORE"], "rb") as file:
        content = file.read()
    return next((name for mark, name in ((b"__asan_init", "address"), (b"__tsan_init", "thread"))
                 if mark in content), None)


def wait_until(condition, what="did not come about", seconds=SECONDS):
    """For what only another process can bring about; looks often, gives up late."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(what)
        time.sleep(0.005)


class PercoreProcess:
    """Derive from it: __enter__ starts it and waits until it serves, __exit__ ends it."""

    def __init__(self, *words):
        self.command = [os.environ["PERCORE"], *words]
        self.lines = []

    def start(self, **how):
        """`how` is for Popen."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True, **how)

    def wait_ready(self):
        """Until it serves: its first lines say where, the last of them how to stop it."""
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("stop"):
                break
        else:
            raise AssertionError(f"{self.command} said {self.lines} and ended with "
                                 f"{self.process.wait(SECONDS)}")
        listens = [re.match(r"listen\s+(\S+)", line) for line in self.lines]
        self.listens = [match[1] for match in listens if match]
        if not self.listens[0].startswith("unix:"):
            host, _, port = self.listens[0].rpartition(":")
            host = host.strip("[]")
            self.address = ("::1" if host in ("", "::") else host, int(port))

    def connect(self, host=None):
        if self.listens[0].startswith("unix:"):
            peer = socket.socket(socket.AF_UNIX)
            peer.settimeout(SECONDS)
            peer.connect(self.listens[0][5:])
            return peer
        return socket.create_connection((host or self.address[0], self.address[1]), timeout=SECONDS)

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self, with_signal=signal.SIGTERM):
        """End it and return its exit code."""
        self.process.send_signal(with_signal)
        return self.process.wait(SECONDS)

    def end(self, *signals):
        """Whatever became of the test, no process is left."""
        if self.process.poll() is None:
            for number in signals:
                self.process.send_signal(number)
            try:
                self.process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
