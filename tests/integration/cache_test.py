#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""cache: what only a whole server shows: many connections, deep pipelines, large values, bad days.

Goal: replies are complete and in order, effects on one key are in order, and one peer's mischief is
its own trouble, for every model and ownership that may be combined. Method: a real process on a
free port, spoken to byte by byte; everything random comes from a printed seed.
"""
import os
import random
import socket
import struct
import threading
import unittest

from cache_process import CacheProcess, Client
from percore_process import sanitizer, wait_until

MODES = [
    ("--cores", "1"),
    ("--cores", "3", "--affinity", "0", "--ownership", "crew"),
    ("--cores", "3", "--affinity", "0", "--ownership", "owned"),
    ("--cores", "3", "--affinity", "0", "--ownership", "shared"),
    ("--model", "thread-per-connection"),
    ("--model", "thread-pool", "--workers", "3"),
]
if sanitizer() == "thread":
    MODES = MODES[1:]  # one thread races with nobody
LONG = os.environ.get("PC_TEST_SCALE") == "long"
SEED = int(os.environ.get("PC_TEST_SEED", "1"))


class Twin:
    """What the server must say to one connection that has its keys to itself."""

    def __init__(self):
        self.values = {}

    def run(self, random_, prefix):
        """One random request on few keys: its bytes and the reply."""
        key = b"%s%d" % (prefix, random_.randrange(12))
        flags = random_.randrange(1 << 32)
        quiet = random_.random() < 0.2
        size = random_.choice([0, 1, 7, 100, 511, 512, 513, 4095, 4096, 9000, 16384, 16385, 70000])
        data = random_.randbytes(size) if random_.random() < 0.5 else b"%d" % random_.randrange(1 << 40)
        verb = random_.choice([b"get", b"get", b"get", b"many", b"set", b"set", b"add", b"replace",
                               b"append", b"prepend", b"delete", b"incr", b"decr", b"touch", b"gat"])
        tail = b" noreply" if quiet else b""
        old = self.values.get(key)
        if verb in (b"get", b"gat"):
            line = b"get %s\r\n" % key if verb == b"get" else b"gat 0 %s\r\n" % key
            return line, self.value(key) + b"END\r\n"
        if verb == b"many":
            keys = [b"%s%d" % (prefix, random_.randrange(14)) for _ in range(random_.randrange(2, 150))]
            if sum(len(self.values.get(k, (0, b""))[1]) for k in keys) > 400000:
                keys = keys[:3]
            return b"get " + b" ".join(keys) + b"\r\n", b"".join(map(self.value, keys)) + b"END\r\n"
        if verb == b"delete":
            self.values.pop(key, None)
            said = b"DELETED\r\n" if old else b"NOT_FOUND\r\n"
            return b"delete %s%s\r\n" % (key, tail), b"" if quiet else said
        if verb == b"touch":
            said = b"TOUCHED\r\n" if old else b"NOT_FOUND\r\n"
            return b"touch %s 0%s\r\n" % (key, tail), b"" if quiet else said
        if verb in (b"incr", b"decr"):
            said = self.count(key, verb, 7)
            return b"%s %s 7%s\r\n" % (verb, key, tail), b"" if quiet else said + b"\r\n"
        line = b"%s %s %d 0 %d%s\r\n" % (verb, key, flags, len(data), tail) + data + b"\r\n"
        said = self.store(verb, key, flags, data, old)
        return line, b"" if quiet else said

    def value(self, key):
        if key not in self.values:
            return b""
        flags, data = self.values[key]
        return b"VALUE %s %d %d\r\n%s\r\n" % (key, flags, len(data), data)

    def count(self, key, verb, delta):
        if key not in self.values:
            return b"NOT_FOUND"
        flags, data = self.values[key]
        text = data.rstrip(b" ")
        if not text.isdigit() or len(data) > 20 or int(text) >= 1 << 64 or data.lstrip(b" ") != data:
            return b"CLIENT_ERROR cannot increment or decrement non-numeric value"
        number = int(text)
        number = (number + delta) % (1 << 64) if verb == b"incr" else max(number - delta, 0)
        shown = b"%d" % number
        self.values[key] = (flags, shown.ljust(len(data)) if len(shown) < len(data) else shown)
        return shown

    def store(self, verb, key, flags, data, old):
        if verb == b"add" and old or verb != b"set" and verb != b"add" and not old:
            return b"NOT_STORED\r\n"
        if verb == b"append":
            flags, data = old[0], old[1] + data
        elif verb == b"prepend":
            flags, data = old[0], data + old[1]
        if len(data) > 500000:
            flags, data = self.shrink(key)
        self.values[key] = (flags, data)
        return b"STORED\r\n"

    def shrink(self, key):
        raise AssertionError("values are kept small by the test")


def play(cache, seed, requests, prefix):
    """A pipeline of random requests; returns nothing, raises on the first wrong byte."""
    random_ = random.Random(seed)
    twin = Twin()
    with Client(cache) as client:
        done = 0
        while done < requests:
            depth = random_.choice([1, 1, 3, 16, 100])
            sent, said = [], []
            for _ in range(depth):
                for key in [k for k, v in twin.values.items() if len(v[1]) > 200000]:
                    del twin.values[key]
                    sent.append(b"delete %s noreply\r\n" % key)
                request, reply = twin.run(random_, prefix)
                sent.append(request)
                said.append(reply)
            done += depth
            data = b"".join(sent)
            cut = random_.randrange(len(data))
            sender = threading.Thread(target=lambda: (client.send(data[:cut]), client.send(data[cut:])))
            sender.start()
            expected = b"".join(said)
            got = client.exactly(len(expected))
            sender.join()
            if got != expected:
                at = next(i for i, (a, b) in enumerate(zip(got, expected)) if a != b)
                raise AssertionError(f"seed {seed}: byte {at}: {got[at-60:at+60]!r} instead of "
                                     f"{expected[at-60:at+60]!r}")


class EveryMode(unittest.TestCase):
    def test_pipelines_are_answered_in_order(self):
        for flags in MODES:
            with self.subTest(flags=flags, seed=SEED), CacheProcess("-m", "256", *flags) as cache:
                failures = []

                def one(index):
                    try:
                        play(cache, SEED * 1000 + index, 1500, b"c%d-" % index)
                    except BaseException as failure:  # reported below, on the test's thread
                        failures.append(failure)

                threads = [threading.Thread(target=one, args=(i,)) for i in range(4)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                if failures:
                    raise failures[0]
                self.assertEqual(cache.stop(), 0)

    def test_a_pipeline_of_millions_takes_no_memory_and_no_turns_of_others(self):
        count, batch = (10_000_000 if LONG else 200_000), 20_000
        for flags in (("--cores", "1"), ("--cores", "2", "--affinity", "0")):
            with self.subTest(flags=flags), CacheProcess(*flags) as cache, \
                    Client(cache) as deep, Client(cache) as other:
                deep.expect(b"set k 0 0 10\r\n0123456789\r\n", b"STORED\r\n")
                asked, told = b"get k\r\n" * batch, b"VALUE k 0 10\r\n0123456789\r\nEND\r\n"

                def send():
                    for _ in range(count // batch):
                        deep.send(asked)

                sender = threading.Thread(target=send)
                sender.start()
                said = told * batch
                early = 0
                for i in range(count // batch):
                    self.assertEqual(deep.exactly(len(said)), said)
                    other.expect(b"get k\r\n", told)
                    early = cache.resident_bytes() if i == count // batch // 10 else early
                sender.join()
                # The replies are 320 MB where the scale is long.
                self.assertLess(cache.resident_bytes() - early, 64 << 20)
                self.assertEqual(cache.stop(), 0)

    def test_counting_by_many_loses_nothing(self):
        for flags in MODES:
            with self.subTest(flags=flags), CacheProcess(*flags) as cache:
                with Client(cache) as client:
                    client.expect(b"set n 0 0 1\r\n0\r\n", b"STORED\r\n")

                def one():
                    with Client(cache) as client:
                        for _ in range(20):
                            client.send(b"incr n 1\r\n" * 50)
                            last = 0
                            for _ in range(50):
                                now = int(client.line())
                                self.assertGreater(now, last)
                                last = now

                threads = [threading.Thread(target=one) for _ in range(4)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                with Client(cache) as client:
                    client.expect(b"incr n 0\r\n", b"4000\r\n")

    def test_a_line_of_thousands_of_keys(self):
        for flags in MODES:
            with self.subTest(flags=flags), CacheProcess(*flags) as cache, Client(cache) as client:
                for i in range(3000):
                    client.send(b"set key%d %d 0 5 noreply\r\nv%04d\r\n" % (i, i, i))
                keys = [i for i in range(4000)] + [7, 7, 7]
                client.send(b"get " + b" ".join(b"key%d" % i for i in keys) + b"\r\n")
                for i in keys:
                    if i < 3000:
                        self.assertEqual(client.line(), b"VALUE key%d %d 5" % (i, i))
                        self.assertEqual(client.line(), b"v%04d" % i)
                self.assertEqual(client.line(), b"END")
                self.assertEqual(client.ask(b"version\r\n")[:8], b"VERSION ")

    def test_flush_is_a_barrier(self):
        for flags in MODES:
            with self.subTest(flags=flags), CacheProcess(*flags) as cache, Client(cache) as client:
                keys = [b"k%d" % i for i in range(100)]
                sets = b"".join(b"set %s 0 0 1 noreply\r\nx\r\n" % k for k in keys)
                gets = b"get " + b" ".join(keys) + b"\r\n"
                for _ in range(20):
                    client.expect(sets + b"flush_all\r\n" + gets + b"set k0 0 0 1\r\ny\r\n" + b"get k0 k1\r\n",
                                  b"OK\r\nEND\r\nSTORED\r\nVALUE k0 0 1\r\ny\r\nEND\r\n")

    def test_values_of_a_mebibyte(self):
        for flags in MODES:
            with self.subTest(flags=flags), CacheProcess(*flags) as cache, Client(cache) as client:
                value = random.Random(SEED).randbytes(1 << 20)
                for key in (b"a", b"b", b"c"):
                    client.expect(b"set %s 1 0 %d\r\n" % (key, len(value)) + value + b"\r\n", b"STORED\r\n")
                    client.expect(b"get %s\r\n" % key,
                                  b"VALUE %s 1 %d\r\n" % (key, len(value)) + value + b"\r\nEND\r\n")
                client.expect(b"set a 1 0 %d\r\n" % (len(value) + 1) + value + b"x\r\n",
                              b"SERVER_ERROR object too large for cache\r\n")
                client.expect(b"get a\r\n", b"END\r\n")

    def test_many_values_on_their_way_at_once_are_not_refused(self):
        """More segments are wanted than may be held: what is not too long is copied instead."""
        for flags in MODES:
            with self.subTest(flags=flags), CacheProcess("-m", "16", *flags) as cache, \
                    Client(cache) as client:
                data = b"x" * 6000
                for i in range(1000):
                    client.send(b"set k%d 0 0 %d noreply\r\n%s\r\n" % (i, len(data), data))
                client.ask(b"version\r\n")
                peers = [Client(cache) for _ in range(10)]
                wanted = [[(j * 97 + i * 31) % 1000 for i in range(64)] for j in range(10)]
                for peer, keys in zip(peers, wanted):
                    peer.send(b"".join(b"get k%d\r\n" % key for key in keys))
                for peer, keys in zip(peers, wanted):
                    for key in keys:
                        expected = b"VALUE k%d 0 %d\r\n%s\r\nEND\r\n" % (key, len(data), data)
                        self.assertEqual(peer.exactly(len(expected)), expected)
                    peer.socket.close()

    def test_memory_is_bounded_and_old_items_go(self):
        for flags in MODES:
            with self.subTest(flags=flags), CacheProcess("-m", "16", *flags) as cache, \
                    Client(cache) as client:
                data = b"v" * 10000
                for i in range(0, 3500, 50):
                    client.send(b"".join(b"set k%d 0 0 %d noreply\r\n%s\r\n" % (j, len(data), data)
                                         for j in range(i, i + 50)))
                stats = client.stats()
                self.assertGreater(int(stats["evictions"]), 1500)
                self.assertEqual(int(stats["total_items"]), 3500)
                self.assertLess(int(stats["bytes"]), 16 << 20)
                client.expect(b"get k3499\r\n", b"VALUE k3499 0 10000\r\n" + data + b"\r\nEND\r\n")


class LongValues(unittest.TestCase):
    """Received into place, sent where they lie: memory for one copy, in pieces over segments."""

    SIZE = (64 << 20) - 512  # with room for the item's header below -I

    def body(self, seed):
        return random.Random(seed).randbytes(1 << 20) * (self.SIZE >> 20) + b"t" * (self.SIZE % (1 << 20))

    def test_64_mib_are_stored_and_read_several_times_at_once(self):
        body = self.body(SEED)
        with CacheProcess("-I", "64m", "-m", "256", "--cores", "2", "--affinity", "0") as cache:
            with Client(cache) as client:
                client.send(b"set long 7 0 %d\r\n" % self.SIZE)
                client.send(body + b"\r\n")
                self.assertEqual(client.line(), b"STORED")
                client.send(b"get long\r\nmg long v\r\nget long none long\r\n")
                head = b"VALUE long 7 %d\r\n" % self.SIZE
                for begin, end in ((head, b"END\r\n"), (b"VA %d\r\n" % self.SIZE, b""),
                                   (head, b""), (head, b"END\r\n")):
                    self.assertEqual(client.exactly(len(begin)), begin)
                    self.assertTrue(client.exactly(self.SIZE) == body)
                    self.assertEqual(client.exactly(2 + len(end)), b"\r\n" + end)

    def test_a_line_of_more_than_may_be_held_is_answered(self):
        """-m 16 may hold 2 MiB at once; the line asks for 5 MB, twice, one behind the other."""
        body = random.Random(SEED).randbytes(500000)
        with CacheProcess("-m", "16", "--cores", "1") as cache, Client(cache) as client:
            for number in range(10):
                client.send(b"set k%d 0 0 %d\r\n" % (number, len(body)) + body + b"\r\n")
                self.assertEqual(client.line(), b"STORED")
            before = client.stats()
            client.send((b"get " + b" ".join(b"k%d" % n for n in range(10)) + b"\r\n") * 2)
            for number in [*range(10)] * 2:
                self.assertEqual(client.line(), b"VALUE k%d 0 %d" % (number, len(body)))
                self.assertTrue(client.exactly(len(body) + 2) == body + b"\r\n")
                if number == 9:
                    self.assertEqual(client.line(), b"END")
            after = client.stats()
            self.assertEqual(int(after["get_hits"]) - int(before["get_hits"]), 20)

    def test_a_long_value_finds_room_among_small_ones(self):
        """Half of all memory, full of small items: many steps of making room, others served between."""
        with CacheProcess("-I", "16m", "-m", "32", "--cores", "1") as cache:
            with Client(cache) as filler, Client(cache) as client, Client(cache) as other:
                for first in range(0, 200000, 10000):
                    filler.send(b"".join(b"set s%d 0 0 100 noreply\r\n%s\r\n" % (n, b"s" * 100)
                                         for n in range(first, first + 10000)))
                filler.expect(b"mn\r\n", b"MN\r\n")
                size = (16 << 20) - 600
                client.send(b"set long 0 0 %d\r\n" % size + b"l" * size + b"\r\n")
                other.expect(b"set o 0 0 1\r\no\r\n", b"STORED\r\n")
                self.assertEqual(client.line(), b"STORED")
                client.send(b"get long\r\n")
                self.assertEqual(client.line(), b"VALUE long 0 %d" % size)
                self.assertTrue(client.exactly(size) == b"l" * size)
                self.assertEqual(client.exactly(7), b"\r\nEND\r\n")

    def test_reads_wait_for_a_slow_reader_on_whatever_core(self):
        """One value keeps more than may be held; each form of a read, here or elsewhere, waits."""
        size, long = 300000, 24 << 20
        body = random.Random(SEED).randbytes(size)
        keys = [b"k%d" % number for number in range(8)]
        for mode in (("--ownership", "crew"), ("--ownership", "owned"), ("--ownership", "shared")):
            with self.subTest(mode=mode), \
                 CacheProcess("-I", "32m", "-m", "64", "--cores", "2", "--affinity", "0", *mode) as cache, \
                 Client(cache) as client, Client(cache) as reader:
                for key in keys:
                    client.send(b"set %s 0 0 %d\r\n" % (key, size) + body + b"\r\n")
                    self.assertEqual(client.line(), b"STORED")
                client.send(b"set long 0 0 %d\r\n" % long + b"l" * long + b"\r\n")
                self.assertEqual(client.line(), b"STORED")
                reader.send(b"get long\r\n")
                self.assertEqual(reader.line(), b"VALUE long 0 %d" % long)
                value, end = (b" 0 %d\r\n" % size) + body + b"\r\n", b"END\r\n"
                binary = b"\x80\x00\x00\x02" + bytes(7) + b"\x02" + bytes(12)
                client.send(b"".join(b"get %s\r\nmg %s v\r\ngat 0 %s\r\n" % (key, key, key) + binary + key
                                     for key in keys) + b"get " + b" ".join(keys) + b"\r\n")
                self.assertEqual(reader.exactly(long + 7), b"l" * long + b"\r\nEND\r\n")
                for key in keys:
                    get = b"VALUE " + key + value + end
                    head = b"\x81\x00\x00\x00\x04" + bytes(3) + (size + 4).to_bytes(4, "big")
                    self.assertTrue(client.exactly(len(get)) == get)
                    self.assertTrue(client.exactly(size + 13) == b"VA %d\r\n" % size + body + b"\r\n")
                    self.assertTrue(client.exactly(len(get)) == get)
                    self.assertEqual(client.exactly(28)[:12], head)
                    self.assertTrue(client.exactly(size) == body)
                for key in keys:
                    self.assertTrue(client.exactly(6 + len(key + value)) == b"VALUE " + key + value)
                self.assertEqual(client.exactly(5), end)

    def test_lines_of_more_than_may_be_held_wait_for_each_other(self):
        """Each asks for more than all may hold; half of the peers go away, the others are answered."""
        size, keys = 300000, [b"k%d" % number for number in range(12)]
        body = random.Random(SEED).randbytes(size)
        line = b"get " + b" ".join(keys) + b"\r\n"
        single = b"".join(b"get %s\r\nmg %s v\r\n" % (key, key) for key in keys)
        for mode in (("--ownership", "crew"), ("--ownership", "owned")):
            with self.subTest(mode=mode), \
                 CacheProcess("-m", "16", "--cores", "2", "--affinity", "0", *mode) as cache:
                with Client(cache) as client:
                    for key in keys:
                        client.send(b"set %s 0 0 %d\r\n" % (key, size) + body + b"\r\n")
                        self.assertEqual(client.line(), b"STORED")
                for asked, count in ((line, 12), (single, 24)):
                    clients = [Client(cache) for _ in range(12)]
                    for client in clients:
                        client.send(asked)
                    for client in clients[::2]:
                        client.socket.close()
                    answered = []
                    readers = [threading.Thread(target=lambda client=client, count=count:
                                                answered.append(client.exactly(count * size)))
                               for client in clients[1::2]]
                    for reader in readers:
                        reader.start()
                    for reader in readers:
                        reader.join(60)
                    self.assertEqual([b"SERVER_ERROR" in answer for answer in answered], [False] * 6)
                    for client in clients[1::2]:
                        client.socket.close()
                self.assertEqual(cache.stop(), 0)

    def test_a_long_value_grows_where_it_is(self):
        """Two fill most of the memory: there is no room for a copy of one while bytes join it."""
        size = 24 << 20
        body = random.Random(SEED).randbytes(size)
        added = [b"%d " % n * (n % 700) for n in range(300)]
        with CacheProcess("-I", "32m", "-m", "64", "--cores", "2", "--affinity", "0") as cache, \
             Client(cache) as client, Client(cache) as reader:
            for key in (b"a", b"b"):
                client.send(b"set %s 3 0 %d\r\n" % (key, size) + body + b"\r\n")
                self.assertEqual(client.line(), b"STORED")
            reader.send(b"get a\r\n")
            self.assertEqual(reader.line(), b"VALUE a 3 %d" % size)
            for number, part in enumerate(added):
                verb = b"append" if number % 2 == 0 else b"prepend"
                client.expect(b"%s a 0 0 %d\r\n%s\r\n" % (verb, len(part), part), b"STORED\r\n")
            self.assertTrue(reader.exactly(size) == body)
            grown = b"".join(added[1::2][::-1]) + body + b"".join(added[::2])
            for key, value in ((b"a", grown), (b"b", body)):
                client.send(b"get %s\r\n" % key)
                self.assertEqual(client.line(), b"VALUE %s 3 %d" % (key, len(value)))
                self.assertTrue(client.exactly(len(value)) == value)
                self.assertEqual(client.exactly(7), b"\r\nEND\r\n")
            self.assertEqual(client.stats()["evictions"], "0")


class BadDays(unittest.TestCase):
    FLAGS = ("--cores", "2", "--affinity", "0")

    def test_a_body_that_never_comes(self):
        with CacheProcess(*self.FLAGS) as cache, Client(cache) as other:
            for size in (10, 100000):
                with Client(cache) as client:
                    client.send(b"set a 0 0 %d\r\nabc" % size)
                    other.expect(b"set b 0 0 1\r\nx\r\n", b"STORED\r\n")
                other.expect(b"get a\r\n", b"END\r\n")
            self.assertEqual(cache.stop(), 0)

    def test_a_reset_in_the_middle(self):
        with CacheProcess(*self.FLAGS) as cache, Client(cache) as other:
            other.expect(b"set a 0 0 1000000\r\n" + b"x" * 1000000 + b"\r\n", b"STORED\r\n")
            for _ in range(20):
                client = Client(cache)
                client.send(b"get a\r\n" * 20)
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.socket.close()
            other.expect(b"set b 0 0 1\r\nx\r\n", b"STORED\r\n")
            other.expect(b"get b\r\n", b"VALUE b 0 1\r\nx\r\nEND\r\n")
            self.assertEqual(cache.stop(), 0)

    def test_a_peer_that_never_reads(self):
        with CacheProcess(*self.FLAGS) as cache, Client(cache) as other, Client(cache) as client:
            other.expect(b"set a 0 0 100000\r\n" + b"x" * 100000 + b"\r\n", b"STORED\r\n")
            client.socket.settimeout(0.2)
            with self.assertRaises(socket.timeout):
                for _ in range(100000):
                    client.send(b"get a\r\n" * 1000)
            for _ in range(100):
                other.expect(b"set b 0 0 1\r\nx\r\n", b"STORED\r\n")

    def test_half_closed_is_answered(self):
        with CacheProcess(*self.FLAGS) as cache, Client(cache) as client:
            client.send(b"set a 0 0 1\r\nx\r\nget a\r\n")
            client.socket.shutdown(socket.SHUT_WR)
            expected = b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"
            self.assertEqual(client.exactly(len(expected)), expected)
            self.assertTrue(client.closed())

    def test_an_endless_line_is_closed(self):
        with CacheProcess(*self.FLAGS) as cache, Client(cache) as client:
            client.send(b"x" * 5000)
            self.assertTrue(client.closed())

    def test_too_many_connections_are_told(self):
        with CacheProcess("-c", "2", *self.FLAGS) as cache:
            with Client(cache) as one, Client(cache) as two:
                one.expect(b"set a 0 0 1\r\nx\r\n", b"STORED\r\n")
                two.expect(b"get a\r\n", b"VALUE a 0 1\r\nx\r\nEND\r\n")
                with Client(cache) as three:
                    self.assertEqual(three.line(), b"ERROR Too many open connections")
                    self.assertTrue(three.closed())


class Statistics(unittest.TestCase):
    def test_stats_count_what_happens(self):
        for flags in MODES:
            with self.subTest(flags=flags), CacheProcess(*flags) as cache, Client(cache) as client:
                client.expect(b"set a 0 0 1\r\n1\r\nset b 0 0 1\r\nx\r\n", b"STORED\r\nSTORED\r\n")
                client.expect(b"get a b c\r\n", b"VALUE a 0 1\r\n1\r\nVALUE b 0 1\r\nx\r\nEND\r\n")
                client.expect(b"incr a 1\r\nincr z 1\r\ndelete b\r\ndelete b\r\ntouch a 0\r\n",
                              b"2\r\nNOT_FOUND\r\nDELETED\r\nNOT_FOUND\r\nTOUCHED\r\n")
                client.expect(b"cas a 0 0 1 1\r\nx\r\n", b"EXISTS\r\n")
                client.expect(b"md nobody\r\n", b"NF\r\n")
                stats = client.stats()
                expected = {"cmd_get": 3, "get_hits": 2, "get_misses": 1, "cmd_set": 3, "incr_hits": 1,
                            "incr_misses": 1, "delete_hits": 1, "delete_misses": 2, "cmd_touch": 1,
                            "touch_hits": 1, "cas_badval": 1, "cmd_meta": 1, "curr_items": 1, "curr_connections": 1,
                            "limit_maxbytes": 64 << 20}
                self.assertEqual({name: int(stats[name]) for name in expected}, expected)
                for topic in (b"settings", b"items", b"slabs", b"sizes", b"conns"):
                    client.stats(topic)
                self.assertEqual(client.ask(b"stats reset\r\n"), b"RESET")
                self.assertEqual(client.stats()["cmd_get"], "0")

    def test_every_mg_is_counted_once(self):
        for flags in MODES:
            with self.subTest(flags=flags), CacheProcess(*flags) as cache, Client(cache) as client:
                client.expect(b"ms a 1\r\nx\r\nms l 5000\r\n" + b"l" * 5000 + b"\r\nms s 1\r\ny\r\n"
                              b"md s I\r\n", b"HD\r\nHD\r\nHD\r\nHD\r\n")
                before = client.stats()
                client.expect(b"mg a v\r\nmg a f v k q\r\nmg b v k\r\nmg l s\r\nmg s v\r\nmg s v\r\n",
                              b"VA 1\r\nx\r\nVA 1 f0 ka\r\nx\r\nEN kb\r\nHD s5000\r\n"
                              b"VA 1 X W\r\ny\r\nVA 1 Z X\r\ny\r\n")
                after = client.stats()
                counted = {name: int(after[name]) - int(before[name])
                           for name in ("cmd_meta", "cmd_get", "get_hits", "get_misses")}
                self.assertEqual(counted, {"cmd_meta": 6, "cmd_get": 6, "get_hits": 5,
                                           "get_misses": 1})

    def test_the_hottest_key_is_told(self):
        hot = b"odd%\x01\xff/key"
        for flags in MODES:
            with self.subTest(flags=flags), CacheProcess(*flags) as cache, Client(cache) as client:
                self.assertEqual(list(client.stats(b"hotkeys")), ["rate"])
                for batch in range(200):
                    others = b" ".join(b"k%d" % (batch * 100 + i) for i in range(100))
                    client.expect(b"get " + others + b"\r\n", b"END\r\n")
                    client.expect(b"get " + b" ".join([hot] * 100) + b"\r\n", b"END\r\n")
                stats = client.stats(b"hotkeys")
                self.assertEqual(stats["1:key"], "odd%25%01%FF%2Fkey")
                # Half of 40 000 requests, of which one in 128 was looked at.
                self.assertAlmostEqual(float(stats["1:share"]), 0.5, delta=0.2)
                self.assertLess(float(stats["1:rate_error"]), float(stats["1:rate"]) / 2)
                shared = client.stats(b"settings")["ownership"] == "shared"
                self.assertEqual("1:core" in stats, not shared)
                self.assertEqual(client.ask(b"stats reset\r\n"), b"RESET")
                self.assertNotIn("1:key", client.stats(b"hotkeys"))
    def test_stats_conns_lists_every_connection(self):
        for flags in MODES:
            with self.subTest(flags=flags), CacheProcess(*flags) as cache, Client(cache) as client:
                others = [Client(cache) for _ in range(100)]
                for other in others:
                    self.assertEqual(other.ask(b"mn\r\n"), b"MN")
                conns = client.stats(b"conns")
                wanted = {"tcp:%s:%d" % other.socket.getsockname() for other in others + [client]}
                told = {value for name, value in conns.items() if name.endswith(":addr")}
                self.assertEqual(wanted - told, set())
                self.assertIn("conn_listening", conns.values())
                for other in others:
                    other.socket.close()

    def test_hot_keys_are_told_while_they_are_asked_for(self):
        def ask(cache):
            with Client(cache) as client:
                for _ in range(200):
                    client.expect(b"get " + b" ".join([b"a", b"b", b"c", b"d"] * 50) + b"\r\n", b"END\r\n")

        for flags in MODES:
            with self.subTest(flags=flags), CacheProcess(*flags) as cache, Client(cache) as client:
                threads = [threading.Thread(target=ask, args=(cache,)) for _ in range(3)]
                for thread in threads:
                    thread.start()
                self.assertEqual(client.ask(b"stats reset\r\n"), b"RESET")
                while any(thread.is_alive() for thread in threads):
                    client.stats(b"hotkeys")
                for thread in threads:
                    thread.join()
                stats = client.stats(b"hotkeys")
                keys = {value for name, value in stats.items() if name.endswith(":key")}
                self.assertLessEqual(keys, {"a", "b", "c", "d"})


class Administration(unittest.TestCase):
    def fill(self, client, keys, value=b"v" * 1000):
        """Store so many items, and see that the last one is there."""
        for first in range(0, keys, 500):
            client.send(b"".join(b"set k%d 0 0 %d noreply\r\n%s\r\n" % (i, len(value), value)
                                 for i in range(first, min(first + 500, keys))))
        client.expect(b"mn\r\n", b"MN\r\n")

    def dump(self, client, words):
        client.send(b"lru_crawler " + words + b"\r\n")
        while not client.bytes.endswith((b"END\r\n", b"EN\r\n")):
            some = client.socket.recv(1 << 16)
            self.assertNotEqual(some, b"")
            client.bytes += some
        said, client.bytes = client.bytes, b""
        return said

    def test_the_limit_is_raised_and_lowered(self):
        for flags in MODES:
            with self.subTest(flags=flags), CacheProcess("-m", "16", *flags) as cache, Client(cache) as client:
                self.fill(client, 20000)
                self.assertLess(int(client.stats()["curr_items"]), 16000)
                client.expect(b"cache_memlimit 64\r\n", b"OK\r\n")
                self.assertEqual(client.stats()["limit_maxbytes"], str(64 << 20))
                self.fill(client, 20000)
                self.assertEqual(client.stats()["curr_items"], "20000")
                client.expect(b"cache_memlimit 16\r\n", b"OK\r\n")
                wait_until(lambda: int(client.stats(b"slabs")["total_malloced"]) <= 16 << 20)
                self.assertLess(int(client.stats()["curr_items"]), 16000)
                client.expect(b"set new 0 0 1\r\nx\r\nget new\r\n", b"STORED\r\nVALUE new 0 1\r\nx\r\nEND\r\n")
                client.expect(b"cache_memlimit 1000000\r\n",
                              b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n")

    def test_a_dump_tells_of_every_item_once(self):
        for flags in MODES:
            with self.subTest(flags=flags), CacheProcess(*flags) as cache, Client(cache) as client:
                self.fill(client, 20000, b"x")
                lines = self.dump(client, b"metadump all").split(b"\n")
                keys = sorted(line.split()[0] for line in lines if line.startswith(b"key="))
                self.assertEqual(keys, sorted(b"key=k%d" % i for i in range(20000)))
                lines = self.dump(client, b"mgdump hash").split(b"\r\n")
                self.assertEqual(sorted(lines[:-2]), sorted(b"mg k%d" % i for i in range(20000)))
                self.assertEqual(lines[-2], b"EN")

    def test_a_dump_waits_for_its_reader(self):
        for flags in MODES:
            with self.subTest(flags=flags), CacheProcess(*flags) as cache, Client(cache) as client:
                self.fill(client, 100000, b"")
                with Client(cache) as slow, Client(cache) as gone:
                    slow.send(b"lru_crawler metadump all\r\nversion\r\n")
                    gone.send(b"lru_crawler metadump all\r\n")
                    gone.exactly(1)
                    gone.socket.close()
                    client.expect(b"get k1\r\n", b"VALUE k1 0 0\r\n\r\nEND\r\n")
                    wait_until(lambda: client.stats()["curr_connections"] == "2")
                    said = bytearray()
                    while b"\r\nVERSION" not in said[-40:]:
                        some = slow.socket.recv(1 << 16)
                        self.assertNotEqual(some, b"")
                        said += some
                    self.assertEqual(said.count(b"key="), 100000)
                    wait_until(lambda: client.stats()["lru_crawler_running"] == "0")

    def test_a_crawl_finds_what_has_expired(self):
        for flags in MODES:
            with self.subTest(flags=flags), CacheProcess(*flags) as cache, Client(cache) as client:
                client.expect(b"set late 0 1 1\r\nx\r\nset stays 0 100 1\r\nx\r\n", b"STORED\r\nSTORED\r\n")

                def crawled():
                    client.expect(b"lru_crawler crawl all\r\n", b"OK\r\n")
                    return client.stats()["curr_items"] == "1"
                wait_until(crawled)
                stats = client.stats()
                self.assertEqual((stats["reclaimed"], stats["crawler_reclaimed"]), ("1", "1"))
                self.assertGreater(int(stats["lru_crawler_starts"]), 0)


if __name__ == "__main__":
    print("seed", SEED)
    unittest.main(verbosity=2)
