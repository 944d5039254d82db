# SPDX-License-Identifier: Apache-2.0
"""echo_process: a `percore echo` of its own for a test, on a free port, and a client of frames."""
import os
import re
import resource
import signal
import struct
import subprocess
import threading

from percore_process import SECONDS, PercoreProcess


def frame(body):
    return struct.pack(">I", len(body)) + body


def refused(*flags):
    """Run it with flags it must refuse: its exit code and what it said, line by line."""
    done = subprocess.run([os.environ["PERCORE"], "echo", *flags], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=SECONDS, check=False)
    if done.stdout:
        raise AssertionError(f"{flags}: said {done.stdout!r} on its way out")
    return done.returncode, done.stderr.splitlines()


class EchoProcess(PercoreProcess):
    """What it says on standard error is kept, and says so if a sanitizer speaks there."""

    def __init__(self, *flags, listen=("--host", "127.0.0.1", "--port", "0"), files=None):
        super().__init__("echo", *listen, *flags)
        self.files = files
        self.said = []
        self.changed = threading.Condition()

    def _limit(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.files, self.files))

    def __enter__(self):
        self.start(stderr=subprocess.PIPE, preexec_fn=self._limit if self.files else None)
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        try:
            self.wait_ready()
        except AssertionError as failure:
            self.reader.join()
            raise AssertionError(f"{failure}: {self.said}") from failure
        return self

    def _read(self):
        for line in self.process.stderr:
            with self.changed:
                self.said.append(line.rstrip("\n"))
                self.changed.notify_all()

    def wait_said(self, pattern, since=0):
        """The first line since `since` that matches."""
        def find():
            return next((line for line in self.said[since:] if re.search(pattern, line)), None)
        with self.changed:
            if not self.changed.wait_for(find, SECONDS):
                raise AssertionError(f"never said {pattern!r}: {self.said[-5:]}")
            return find()

    def counters(self):
        """name -> [count of lane 0, of lane 1, ...], as SIGUSR2 prints them."""
        since = len(self.said)
        self.process.send_signal(signal.SIGUSR2)
        self.wait_said(r"sending", since)
        found = {}
        with self.changed:
            for line in self.said[since:]:
                match = re.match(r"counter=(\w+) sum=(\d+)(?: each=([\d,]+))?$", line)
                if match:
                    each = [int(part) for part in match[3].split(",")] if match[3] else []
                    found[match[1]] = (int(match[2]), each)
        return found

    def count(self, name):
        return self.counters()[name][0]

    def open_each(self, core_count):
        """Connections open on each core."""
        counters = self.counters()
        each = {}
        for name in ("accepted", "handed_over", "adopted", "closed"):
            total, lanes = counters[name]
            each[name] = (lanes + [0] * core_count)[:core_count] if total else [0] * core_count
        return [each["accepted"][i] - each["handed_over"][i] + each["adopted"][i]
                - each["closed"][i] for i in range(core_count)]

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self, with_signal=signal.SIGTERM):
        code = super().stop(with_signal)
        self.reader.join()
        return code

    def __exit__(self, kind, *_):
        self.end(signal.SIGTERM, signal.SIGINT)  # the second one cuts
        self.reader.join()
        self.process.stderr.close()
        bad = [line for line in self.said if "Sanitizer" in line or "runtime error" in line
               or "Assertion" in line]
        if bad and kind is None:
            raise AssertionError("\n".join(self.said[-60:]))


class Peer:
    """One connection; frames are read whole."""

    def __init__(self, echo, family=None):
        self.socket = echo.connect(family)
        self.bytes = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def exactly(self, count):
        while len(self.bytes) < count:
            some = self.socket.recv(1 << 18)
            if not some:
                raise AssertionError(f"closed with {len(self.bytes)} of {count} bytes received")
            self.bytes += some
        data = bytes(self.bytes[:count])
        del self.bytes[:count]
        return data

    def body(self):
        return self.exactly(struct.unpack(">I", self.exactly(4))[0])

    def ask(self, body):
        self.send(frame(body))
        return self.body()

    def rest(self):
        """What comes until the server closes."""
        try:
            while some := self.socket.recv(1 << 18):
                self.bytes += some
        except ConnectionResetError:
            pass
        data = bytes(self.bytes)
        self.bytes.clear()
        return data
