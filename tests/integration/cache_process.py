# SPDX-License-Identifier: Apache-2.0
"""cache_process: a `percore cache` of its own for a test, on a free port, ended with the test."""
import os
import signal

from percore_process import PercoreProcess


def user_flags():
    """As memcached, percore does not serve as root."""
    return ["-u", "nobody"] if os.geteuid() == 0 else []


class CacheProcess(PercoreProcess):
    def __init__(self, *flags, listen=("-l", "127.0.0.1", "-p", "0"), errors=None, before=None, as_nobody=False):
        """`errors` is a file for its standard error; `before` runs in it first, as_nobody without any rights."""
        super().__init__("cache", *listen, *user_flags(), *flags)
        self.how = {"stderr": errors, "preexec_fn": before}
        if as_nobody and os.geteuid() == 0:
            self.how.update(user="nobody", group="nogroup", extra_groups=[])

    def __enter__(self):
        self.start(**self.how)
        self.wait_ready()
        return self

    def __exit__(self, *_):
        self.end(signal.SIGTERM)


class Client:
    """The text protocol by hand: what is sent is what the test says, byte for byte."""

    def __init__(self, cache):
        self.socket = cache.connect()
        self.bytes = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def exactly(self, count):
        data = bytearray(self.bytes[:count])
        self.bytes = self.bytes[count:]
        while len(data) < count:
            some = self.socket.recv(min(count - len(data), 1 << 20))
            if not some:
                raise AssertionError(f"closed after {bytes(data[-200:])!r}")
            data += some
        return bytes(data)

    def line(self):
        while b"\r\n" not in self.bytes:
            some = self.socket.recv(1 << 18)
            if not some:
                raise AssertionError(f"closed after {self.bytes[-200:]!r}")
            self.bytes += some
        line, self.bytes = self.bytes.split(b"\r\n", 1)
        return line

    def ask(self, data):
        self.send(data)
        return self.line()

    def expect(self, data, reply):
        self.send(data)
        said = self.exactly(len(reply))
        if said != reply:
            raise AssertionError(f"sent {data[:100]!r}, expected {reply[:200]!r}, got {said[:200]!r}")

    def stats(self, what=b""):
        self.send(b"stats" + (b" " + what if what else b"") + b"\r\n")
        found = {}
        while True:
            line = self.line()
            if line == b"END":
                return found
            _, name, value = line.split(b" ", 2)
            found[name.decode()] = value.decode()

    def closed(self):
        """Whether the server has closed: waits until it says something."""
        try:
            return not self.bytes and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
