#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""full: with -M full memory answers as memcached's does.

Goal: what is said of stores that find no room, what becomes of the old value, and that neither evicts. Method: the
same plays at both servers, each filled with values of one size until it refuses; what the plays say is compared.
memcached has its room once it has read the line of a store. Here memory can fill up while the value still comes: what
becomes of the old value then is asked here alone.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))

import play  # noqa: E402
from cache_process import CacheProcess  # noqa: E402

FLAGS = ["-M", "-m", "16"]
SIZES = [500, 5000, 100000]


class Server:
    def __init__(self, address, size):
        self.connection = play.Connection(address)
        self.value = b"v" * size
        self.end = 0

    def ask(self, line, *data):
        self.connection.send(b"".join(part + b"\r\n" for part in (line, *data)))
        return self.connection.line()

    def store(self, verb, key):
        if verb == b"ms":
            return self.ask(b"ms %s %d" % (key, len(self.value)), self.value)
        return self.ask(b"%s %s 0 0 %d" % (verb, key, len(self.value)), self.value)

    def fill(self):
        while True:
            said = self.store(b"set", b"k%d" % self.end)
            if said != b"STORED":
                return said
            self.end += 1

    def present(self, key):
        return self.ask(b"mg %s s" % key)[:2] == b"HD"

    def full_key(self, verb, first):
        """A key of which the verb is refused. percore may find room for some: each that is replaced leaves a hole."""
        for number in range(first, self.end):
            key = b"k%d" % number
            self.fill()
            said = self.store(verb, key)
            if b"out of memory" in said:
                return key, said
        raise AssertionError(f"{verb} is never refused")

    def stat(self, name, page=b""):
        self.connection.send(b"stats " + page + b"\r\n" if page else b"stats\r\n")
        found = None
        while (line := self.connection.line()) != b"END":
            if line.split()[1] == name:
                found = line.split()[2]
        return found


def said_by(address, size):
    """What a server says, with what differs by its layout left out."""
    server = Server(address, size)
    said = {"fill": server.fill()}
    for verb in b"append", b"prepend", b"replace", b"set", b"ms":
        key, refusal = server.full_key(verb, 1)
        said[verb] = refusal, server.present(key)
    for number in range(server.end):
        server.fill()
        if b"out of memory" in server.store(b"add", b"new%d" % number):
            said["add"] = server.present(b"new%d" % number)
            break
    said["evictions"] = server.stat(b"evictions"), server.stat(b"evictions", b"settings")
    said["counted"] = int(server.stat(b"store_no_memory")) > 0
    for number in range(server.end):
        server.ask(b"delete k%d" % number)
    said["room again"] = server.store(b"set", b"last")
    return said


def refused_late(address):
    """What is said of a value whose room for the last piece others took, and whether the old value is still there."""
    slow, others = Server(address, 50000), Server(address, 20000)
    key = b"k" * 250
    slow.ask(b"set %s 0 0 3" % key, b"old")
    slow.connection.send(b"set %s 0 0 %d\r\n" % (key, 2 * len(slow.value)) + slow.value)
    while int(others.stat(b"bytes_read")) < len(slow.value):
        pass  # its room is there before so much of it is read
    while len(others.value) > 1:
        stored = others.end
        for number in range(100):
            others.end += others.store(b"set", b"%d:%d" % (len(others.value), stored + number)) == b"STORED"
        if others.end == stored:
            others.value = others.value[: len(others.value) // 4]
    slow.connection.send(slow.value + b"\r\n")
    return slow.connection.line(), others.present(key)


def main():
    troubles = 0
    with CacheProcess(*FLAGS, "--cores", "1") as cache:
        said, stale = refused_late(cache.address)
    if b"out of memory" not in said or stale:
        troubles += 1
        print(f"refused late: {said}, and the old value is {'there' if stale else 'gone'}")
    for size in SIZES:
        with play.reference_server(*FLAGS) as address:
            if address is None:
                print("memcached is not installed")
                return 77
            reference = said_by(address, size)
        for flags in ["--cores", "1"], ["--cores", "2", "--affinity", "0"]:
            with CacheProcess(*FLAGS, *flags) as cache:
                ours = said_by(cache.address, size)
            for what, said in reference.items():
                if ours[what] != said:
                    troubles += 1
                    print(f"{size} bytes, {what}: memcached says {said}, percore {ours[what]}")
    print(f"{len(reference)} answers at {len(SIZES)} sizes")
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())
