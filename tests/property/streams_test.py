#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""streams: however a client's bytes are cut, the answers are those of a plain dictionary.

Goal: requests in any order, pipelined to any depth and cut at any byte, are answered in order and as
if one after the other, under every model and ownership mode. Method: hypothesis makes up streams of
commands and where to cut them; one connection sends them, and all that comes back is compared with
what a dictionary says. A failing stream is made as short as it can be and printed. PC_TEST_SCALE=long
plays hundreds of times as many, different ones each time.
"""
import os
import sys
import threading
import unittest

try:
    from hypothesis import HealthCheck, given, settings, strategies as st
except ImportError:
    print("python3-hypothesis is not installed")
    sys.exit(77)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
from cache_process import CacheProcess  # noqa: E402

LONG = os.environ.get("PC_TEST_SCALE") == "long"
PLAY = settings(max_examples=20000 if LONG else 60, derandomize=not LONG, deadline=None, database=None,
                suppress_health_check=list(HealthCheck))

WORDS = st.sampled_from([b"a", b"key-with-a-longer-name", b"k" * 250])
NUMBERS = st.sampled_from([b"n1", b"n2"])
VALUES = st.one_of(st.binary(max_size=40),
                   st.integers(0, 20000).map(lambda count: bytes(i % 251 for i in range(count))))
FLAGS = st.integers(0, 2**32 - 1)
# Small ones change their length often, large ones wrap.
COUNTABLE = st.one_of(st.integers(0, 120), st.integers(2**64 - 120, 2**64 - 1))


def store(verb, key, flags, value, quiet):
    end = b" noreply" if quiet else b""
    return b"%s %s %d 0 %d%s\r\n%s\r\n" % (verb, key, flags, len(value), end, value)


class Twin:
    """What a memcached with all the memory in the world answers."""

    def __init__(self):
        self.items = {}

    def store(self, verb, key, flags, value, quiet):
        there = key in self.items
        stored = {b"set": True, b"add": not there}.get(verb, there)
        if stored and verb == b"append":
            self.items[key] = (self.items[key][0], self.items[key][1] + value)
        elif stored and verb == b"prepend":
            self.items[key] = (self.items[key][0], value + self.items[key][1])
        elif stored:
            self.items[key] = (flags, value)
        return b"" if quiet else (b"STORED\r\n" if stored else b"NOT_STORED\r\n")

    def get(self, keys):
        found = (b"VALUE %s %d %d\r\n%s\r\n" % (key, flags, len(value), value)
                 for key in keys if key in self.items for flags, value in [self.items[key]])
        return b"".join(found) + b"END\r\n"

    def delete(self, key, quiet):
        there = self.items.pop(key, None) is not None
        return b"" if quiet else (b"DELETED\r\n" if there else b"NOT_FOUND\r\n")

    def count(self, key, delta):
        if key not in self.items:
            return b"NOT_FOUND\r\n"
        flags, value = self.items[key]
        number = max(int(value) + delta, 0) % 2**64
        # In place where it fits: memcached leaves spaces behind a number that became shorter.
        self.items[key] = (flags, (b"%d" % number).ljust(len(value)))
        return b"%d\r\n" % number

    def flush(self):
        self.items.clear()
        return b"OK\r\n"


# One command: its bytes, and what the twin does.
STORES = st.builds(
    lambda *words: (store(*words), lambda twin: twin.store(*words)),
    st.sampled_from([b"set", b"set", b"add", b"replace", b"append", b"prepend"]),
    WORDS, FLAGS, VALUES, st.booleans())
NUMBER_STORES = st.builds(
    lambda *words: (store(*words), lambda twin: twin.store(*words)),
    st.just(b"set"), NUMBERS, FLAGS, COUNTABLE.map(lambda n: b"%d" % n), st.booleans())
GETS = st.builds(
    lambda keys: (b"get %s\r\n" % b" ".join(keys), lambda twin: twin.get(keys)),
    st.lists(st.one_of(WORDS, NUMBERS, st.just(b"never-stored")), min_size=1, max_size=12))
DELETES = st.builds(
    lambda key, quiet: (b"delete %s%s\r\n" % (key, b" noreply" if quiet else b""),
                        lambda twin: twin.delete(key, quiet)),
    st.one_of(WORDS, NUMBERS), st.booleans())
COUNTS = st.builds(
    lambda key, up, by: (b"%s %s %d\r\n" % (b"incr" if up else b"decr", key, by),
                         lambda twin: twin.count(key, by if up else -by)),
    NUMBERS, st.booleans(), COUNTABLE)
OTHERS = st.sampled_from([
    (b"flush_all\r\n", lambda twin: twin.flush()),
    (b"nonsense\r\n", lambda twin: b"ERROR\r\n"),
    (b"verbosity 1\r\n", lambda twin: b"OK\r\n"),
    (b"touch never-stored 0\r\n", lambda twin: b"NOT_FOUND\r\n"),
])
COMMANDS = st.one_of(STORES, STORES, NUMBER_STORES, GETS, GETS, DELETES, COUNTS, OTHERS)
# Long ones find more, short ones are what a failure shrinks to.
STREAMS = st.one_of(st.lists(COMMANDS, max_size=8), st.lists(COMMANDS, min_size=20, max_size=60))
CUTS = st.lists(st.floats(0, 1, exclude_max=True), max_size=12)


def pieces(data, cuts):
    """The bytes cut at these parts of their length."""
    at = sorted({int(cut * len(data)) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in zip(at, at[1:])]


def exchange(peer, data, cuts):
    """Send in pieces, and meanwhile read all that comes until the server closes."""
    answers = []

    def read():
        while True:
            some = peer.recv(1 << 16)
            if not some:
                return
            answers.append(some)

    reader = threading.Thread(target=read)
    reader.start()
    for piece in pieces(data, cuts):
        peer.sendall(piece)
    reader.join()
    return b"".join(answers)


class Streams:
    flags = ()

    @classmethod
    def setUpClass(cls):
        cls.cache = CacheProcess(*cls.flags)
        cls.cache.__enter__()

    @classmethod
    def tearDownClass(cls):
        code = cls.cache.stop()
        cls.cache.__exit__()
        if code != 0:
            raise AssertionError(f"the server ended with {code}")

    @PLAY
    @given(STREAMS, CUTS)
    def test_answers_are_those_of_a_dictionary(self, stream, cuts):
        twin = Twin()
        asked = b"flush_all\r\n" + b"".join(bytes_ for bytes_, _ in stream) + b"quit\r\n"
        expected = b"OK\r\n" + b"".join(act(twin) for _, act in stream)
        with self.cache.connect() as peer:
            self.assertEqual(expected, exchange(peer, asked, cuts))


class PerCoreCrew(Streams, unittest.TestCase):
    flags = ("--cores", "3", "--affinity", "0")


class PerCoreOwned(Streams, unittest.TestCase):
    flags = ("--cores", "3", "--affinity", "0", "--ownership", "owned")


class PerCoreShared(Streams, unittest.TestCase):
    flags = ("--cores", "3", "--affinity", "0", "--ownership", "shared")


class ThreadPool(Streams, unittest.TestCase):
    flags = ("--model", "thread-pool", "--workers", "3")


class ThreadPerConnection(Streams, unittest.TestCase):
    flags = ("--model", "thread-per-connection")


class TheTwinItself(unittest.TestCase):
    """A dictionary that forgets, or cuts that lose a byte, would prove nothing."""

    def test_commands_do_what_memcached_says(self):
        twin = Twin()
        self.assertEqual(b"NOT_STORED\r\n", twin.store(b"append", b"a", 0, b"x", False))
        self.assertEqual(b"STORED\r\n", twin.store(b"set", b"a", 7, b"x", False))
        self.assertEqual(b"NOT_STORED\r\n", twin.store(b"add", b"a", 0, b"y", False))
        self.assertEqual(b"", twin.store(b"prepend", b"a", 0, b"y", True))
        self.assertEqual(b"VALUE a 7 2\r\nyx\r\nEND\r\n", twin.get([b"b", b"a"]))
        twin.store(b"set", b"n", 0, b"10", True)
        self.assertEqual(b"9\r\n", twin.count(b"n", -1))
        self.assertEqual(b"VALUE n 0 2\r\n9 \r\nEND\r\n", twin.get([b"n"]))

    def test_pieces_are_the_whole(self):
        self.assertEqual([b"a", b"bcd", b"e"], pieces(b"abcde", [0.2, 0.9, 0.2, 0.0]))


if __name__ == "__main__":
    unittest.main(verbosity=2)
