#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""watch: what a watcher is sent, beside what memcached sends for the same requests.

Goal: line for line memcached's fields, in their order, whoever asks in whatever protocol and whichever
core has the key; in the order of the gid; nobody waits for a watcher, and what it misses is counted
to the line. Method: a table of requests and their lines is played at percore in every ownership mode
and model, and at memcached, where it is installed, which proves the table. After each request a look-up
of a key of its own says that no more lines come.
"""
import os
import re
import socket
import struct
import sys
import threading
import unittest

from cache_process import CacheProcess, Client
from percore_process import wait_until

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "conformance"))
import play  # noqa: E402

GET = b"item_get key=%s status=%s clsid=%d size=%d"
STORE = b"item_store key=%s status=%s cmd=%s ttl=%d clsid=1 size=%d"


def hit(key, size):
    return GET % (key, b"found", 1, size)


def miss(key):
    return GET % (key, b"not_found", 0, 0)


def store(key, status, command, size, ttl=0):
    return STORE % (key, status, command, ttl, size)


# Requests and the lines they make, without ts, gid and cfd.
TEXT = [
    (b"get a", [miss(b"a")]),
    (b"set a 0 0 3\r\nabc", [miss(b"a"), store(b"a", b"stored", b"set", 3)]),
    (b"set a 0 1000 4\r\nabcd", [hit(b"a", 3), store(b"a", b"stored", b"set", 4, 1000)]),
    (b"get a b c", [hit(b"a", 4), miss(b"b"), miss(b"c")]),
    (b"gets a", [hit(b"a", 4)]),
    (b"add a 0 0 1\r\nx", [hit(b"a", 4), store(b"a", b"not_stored", b"add", 1)]),
    (b"replace n 0 0 1\r\nx", [miss(b"n"), store(b"n", b"not_stored", b"replace", 1)]),
    (b"append a 0 0 1\r\nx", [hit(b"a", 4), store(b"a", b"stored", b"append", 5, 1000)]),
    (b"prepend n 0 0 1\r\nx", [miss(b"n"), store(b"n", b"not_stored", b"prepend", 1)]),
    (b"cas a 0 0 1 1\r\nx", [hit(b"a", 5), store(b"a", b"exists", b"cas", 1)]),
    (b"cas n 0 0 1 1\r\nx", [miss(b"n"), store(b"n", b"not_found", b"cas", 1)]),
    (b"touch a 500", [hit(b"a", 5)]),
    (b"touch n 500", [miss(b"n")]),
    (b"gat 500 a n", [hit(b"a", 5), miss(b"n")]),
    (b"delete n", [miss(b"n")]),
    (b"delete a", [hit(b"a", 5)]),
    (b"incr n 1", [miss(b"n")]),
    (b"set i 0 0 1\r\n9", [miss(b"i"), store(b"i", b"stored", b"set", 1)]),
    (b"incr i 1", [hit(b"i", 1)]),
    (b"decr i 100", [hit(b"i", 2)]),
    (b"set long 0 0 20000\r\n" + 20000 * b"x", [miss(b"long"), store(b"long", b"stored", b"set", 20000)]),
    (b"get long", [hit(b"long", 20000)]),
    (b"set p%,/~._-\x80 0 0 1\r\nx",
     [miss(b"p%25%2C%2F~._-%80"), store(b"p%25%2C%2F~._-%80", b"stored", b"set", 1)]),
    (b"mg n v", [miss(b"n")]),
    (b"mg i v", [hit(b"i", 2)]),
    (b"mg i t f", [hit(b"i", 2)]),
    (b"mg i T200 v", [hit(b"i", 2)]),
    (b"mg won N30 v", [miss(b"won")]),
    (b"ms m 3\r\nabc", [miss(b"m"), store(b"m", b"stored", b"set", 3)]),
    (b"ms m 3 T1000\r\nabc", [hit(b"m", 3), store(b"m", b"stored", b"set", 3, 1000)]),
    (b"ms m 3 MA\r\nabc", [hit(b"m", 3), store(b"m", b"stored", b"append", 6, 1000)]),
    (b"ms m 3 C1\r\nabc", [hit(b"m", 6), store(b"m", b"exists", b"cas", 3)]),
    (b"ms m 3 ME\r\nabc", [hit(b"m", 6), store(b"m", b"not_stored", b"add", 3)]),
    (b"ms none 3 MR\r\nabc", [miss(b"none"), store(b"none", b"not_stored", b"replace", 3)]),
    (b"ms aGkgeW91 2 b\r\nhi", [miss(b"hi%20you"), store(b"hi%20you", b"stored", b"set", 2)]),
    (b"ma i", [hit(b"i", 2)]),
    (b"ma j", [miss(b"j")]),
    (b"ma j N0 J5", [miss(b"j"), store(b"j", b"stored", b"add", 1)]),
    (b"me j", [hit(b"j", 1)]),
    (b"md j q", [hit(b"j", 1)]),
    (b"md j", [miss(b"j")]),
    (b"mn", []),
    (b"flush_all", []),
]


def binary(opcode, key=b"", extra=b"", value=b"", cas=0):
    body = extra + key + value
    return struct.pack(">BBHBBHIIQ", 0x80, opcode, len(key), len(extra), 0, 0, len(body), 0, cas) + body


NEVER = struct.pack(">II", 0, 0)
COUNT = struct.pack(">QQI", 1, 7, 0)

BINARY = [
    (binary(0x00, b"bk"), [miss(b"bk")]),
    (binary(0x01, b"bk", struct.pack(">II", 0, 1000), b"5"), [miss(b"bk"), store(b"bk", b"stored", b"set", 1, 1000)]),
    (binary(0x02, b"bk", NEVER, b"5"), [hit(b"bk", 1), store(b"bk", b"not_stored", b"add", 1)]),
    (binary(0x03, b"bk", NEVER, b"55"), [hit(b"bk", 1), store(b"bk", b"stored", b"replace", 2)]),
    (binary(0x0e, b"bk", b"", b"5"), [hit(b"bk", 2), store(b"bk", b"stored", b"append", 3)]),
    (binary(0x01, b"bk", NEVER, b"5", 77), [hit(b"bk", 3), store(b"bk", b"exists", b"cas", 1)]),
    (binary(0x05, b"bk", COUNT), [hit(b"bk", 3)]),
    (binary(0x05, b"bj", COUNT), [miss(b"bj"), store(b"bj", b"stored", b"add", 1)]),
    (binary(0x1d, b"bk", struct.pack(">I", 100)), [hit(b"bk", 3)]),
    (binary(0x1c, b"bk", struct.pack(">I", 100)), [hit(b"bk", 3)]),
    (binary(0x0c, b"bk"), [hit(b"bk", 3)]),
    (binary(0x04, b"bk"), [hit(b"bk", 3)]),
    (binary(0x04, b"bk"), [miss(b"bk")]),
]

LINE = re.compile(rb"ts=\d+\.\d+ gid=(\d+) type=(.*)")


class Watcher(Client):
    def __init__(self, cache, kinds=b"fetchers"):
        super().__init__(cache)
        self.number = 0
        self.kinds = kinds

    def begin(self):
        self.expect(b"watch %s\r\n" % self.kinds if self.kinds else b"watch\r\n", b"OK\r\n")
        return self

    def feed(self):
        """One line, which ends as memcached's watcher lines do: without CR."""
        while b"\n" not in self.bytes:
            some = self.socket.recv(1 << 18)
            if not some:
                raise AssertionError(f"closed after {self.bytes[-200:]!r}")
            self.bytes += some
        line, self.bytes = self.bytes.split(b"\n", 1)
        return line

    def event(self):
        """The next line without ts and gid, which rises."""
        line = self.feed()
        match = LINE.fullmatch(line)
        if match is None or int(match[1]) <= self.number:
            raise AssertionError(f"{line!r} after gid {self.number}")
        self.number = int(match[1])
        return match[2]

    def until(self, key):
        """All events before the look-up of `key`."""
        events = []
        while True:
            event = self.event()
            if event.startswith(b"item_get key=%s " % key):
                return events
            events.append(event)


class Address:
    """A server by its address, for what else wants a CacheProcess."""

    def __init__(self, address):
        self.address = address

    def connect(self):
        peer = socket.create_connection(self.address)
        peer.settimeout(60)
        return peer


def plain(events):
    """Without the descriptor and the class, which are the same everywhere but for their numbers; a
    look-up that memcached makes twice for one request counts once."""
    left = []
    for event in events:
        event = re.sub(rb" cfd=\d+", b"", re.sub(rb" clsid=[1-9]\d*", b" clsid=1", event))
        if event.startswith(b"item_get") and left[-1:] == [event]:
            continue
        left.append(re.sub(rb"ttl=(99\d|1000) ", b"ttl=1000 ", event))  # seconds pass
    return left


def binary_ask(client, request):
    client.send(request)
    head = client.exactly(24)
    client.exactly(struct.unpack(">I", head[8:12])[0])


def text_ask(client, request, number):
    """When the reply is here, a look-up that ends the lines; returns its key."""
    client.send(request + b"\r\nmn\r\n")
    said = b""
    while not said.endswith(b"MN\r\n" if request != b"mn" else b"MN\r\nMN\r\n"):
        said += client.exactly(1)
    client.expect(b"get end%d\r\n" % number, b"END\r\n")
    return b"end%d" % number


class Watch(unittest.TestCase):
    def serve(self, *flags):
        cache = CacheProcess(*flags).__enter__()
        self.addCleanup(cache.__exit__)
        return cache

    def client(self, cache):
        client = Client(cache)
        self.addCleanup(client.socket.close)
        return client

    def watcher(self, cache, kinds=b"fetchers"):
        watcher = Watcher(cache, kinds)
        self.addCleanup(watcher.socket.close)
        return watcher.begin()

    def play(self, cache):
        watcher = self.watcher(cache, b"fetchers mutations")
        text, other = self.client(cache), self.client(cache)
        number = 0
        for rows, is_text in ((TEXT, True), (BINARY, False)):
            for request, lines in rows:
                number += 1
                if not is_text:
                    binary_ask(other, request)
                    request = b"mn"
                end = text_ask(text, request, number)
                events = plain(watcher.until(end))
                with self.subTest(request=request[:60]):
                    if len(lines) > 1 and lines[-1].startswith(b"item_get"):
                        events, lines = sorted(events), sorted(lines)  # keys of one line are independent
                    self.assertEqual(events, lines)

    def play_connections(self, cache):
        watcher = self.watcher(cache, b"connevents")
        new = rb"conn_new rip=127\.0\.0\.1 rport=(\d+) transport=tcp cfd=(\d+)"
        old = rb"conn_close rip=127\.0\.0\.1 rport=(\d+) transport=tcp reason=%s cfd=(\d+)"

        def opened():
            client = Client(cache)
            client.expect(b"mn\r\n", b"MN\r\n")
            match = re.fullmatch(new, watcher.event())
            self.assertEqual(int(match[1]), client.socket.getsockname()[1])
            return client, match.groups()

        def ended(reason, who):
            self.assertEqual(re.fullmatch(old % reason, watcher.event()).groups(), who)

        client, who = opened()
        client.socket.close()
        ended(b"normal", who)
        client, who = opened()
        client.send(b"quit\r\n")
        self.assertTrue(client.closed())
        client.socket.close()
        ended(b"normal", who)
        client, who = opened()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.socket.close()
        ended(b"error", who)

    def play_evictions(self, cache, client):
        watcher = self.watcher(cache, b"evictions")
        value = 8000 * b"x"
        evicted = 0
        for i in range(20000):
            client.send(b"set filler%d 0 %d 8000 noreply\r\n%s\r\n" % (i, 100000 * (i % 2), value))
            if i % 500 == 499:
                client.expect(b"mn\r\n", b"MN\r\n")
                evicted = int(client.stats()["evictions"])
                if evicted > 50:
                    break
        self.assertGreater(evicted, 50)
        for _ in range(50):
            self.assertRegex(watcher.event(), rb"^eviction key=filler\d+ fetch=(yes|no) ttl=(-1|9\d{4}|100000) la=\d+ "
                                              rb"clsid=[1-9]\d* size=8000$")
        return watcher

    def test_lines_are_memcacheds(self):
        for ownership in ("crew", "owned", "shared"):
            for cores in ("1", "2"):
                for more in ((), ("--lend=off",)) if ownership == "crew" and cores == "2" else ((),):
                    with self.subTest(ownership=ownership, cores=cores, more=more):
                        cache = self.serve("--cores", cores, "--affinity", "0", "--ownership", ownership, *more)
                        self.play(cache)
                        self.play_connections(cache)
                        self.assertEqual(cache.stop(), 0)

    def test_lines_are_the_same_in_every_model(self):
        for model in ("thread-per-connection", "thread-pool"):
            with self.subTest(model=model):
                cache = self.serve("--model", model)
                self.play(cache)
                self.play_connections(cache)
                self.assertEqual(cache.stop(), 0)

    def test_the_table_is_memcacheds(self):
        # Two threads of it tell in either order what happens on them.
        with play.reference_server("-t", "1") as address:
            if address is None:
                self.skipTest("memcached is not installed")
            cache = Address(address)
            self.play(cache)
            self.play_connections(cache)
            with self.client(cache) as client:
                self.play_evictions(cache, client)

    def test_evictions_are_told_to_the_last(self):
        for cores in ("1", "2"):
            cache = self.serve("-m", "32", "--cores", cores, "--affinity", "0")
            client = self.client(cache)
            watcher = self.play_evictions(cache, client)
            stats = client.stats()
            while int(stats["log_watcher_sent"]) < int(stats["evictions"]):
                watcher.event()
                stats = client.stats()
            self.assertEqual(stats["log_watcher_skipped"], "0")
            self.assertEqual(stats["log_worker_dropped"], "0")

    def test_deletions(self):
        cache = self.serve("--cores", "2", "--affinity", "0")
        watcher, client = self.watcher(cache, b"deletions"), self.client(cache)
        for i in range(10):
            client.expect(b"set d%d 0 0 5\r\nabcde\r\n" % i, b"STORED\r\n")
        client.expect(b"delete nobody\r\n", b"NOT_FOUND\r\n")
        client.expect(b"md d0 I\r\n", b"HD\r\n")
        for i in range(10):
            client.expect(b"delete d%d\r\n" % i if i % 2 else b"md d%d\r\n" % i, b"DELETED\r\n" if i % 2 else b"HD\r\n")
            self.assertEqual(watcher.event(), b"deleted key=d%d cmd=%s clsid=1 size=5" % (i, b"delete" if i % 2 else b"md"))

    def test_expired_and_flushed_are_told_apart_where_they_are_found(self):
        cache = self.serve("--cores", "1")
        watcher, client = self.watcher(cache), self.client(cache)
        client.expect(b"set f 0 0 1\r\nx\r\nflush_all\r\nget f\r\n", b"STORED\r\nOK\r\nEND\r\n")
        self.assertRegex(watcher.event(), rb"^item_get key=f status=not_found ")
        self.assertRegex(watcher.event(), rb"^item_get key=f status=(flushed|not_found) clsid=0 cfd=\d+ size=0$")

    def test_words(self):
        cache = self.serve("--cores", "1")
        for words in (b"foo", b"fetch", b"FETCHERS", b"fetchers foo", b"fetchersx"):
            self.client(cache).expect(b"watch %s\r\nmn\r\n" % words, b"ERROR\r\nMN\r\n")
        self.client(cache).expect(b"watch fetchers noreply\r\nmn\r\n", b"MN\r\n")
        self.client(cache).expect(b"mn\r\nwatch  fetchers  mutations \r\n", b"MN\r\nOK\r\n")
        self.client(cache).expect(b"watch " + 30 * b"fetchers " + b"\r\n", b"OK\r\n")
        self.client(cache).expect(b"watch rawcmds sysevents proxyreqs proxyevents proxyuser\r\n", b"OK\r\n")
        bare = self.watcher(cache, b"")
        self.client(cache).expect(b"set a 0 0 1\r\nx\r\n", b"STORED\r\n")
        self.client(cache).expect(b"get b\r\n", b"END\r\n")
        self.assertRegex(bare.event(), rb"^item_get key=a ")
        self.assertRegex(bare.event(), rb"^item_get key=b ")
        refusing = self.serve("--cores", "1", "-W")
        self.client(refusing).expect(b"watch\r\n", b"CLIENT_ERROR watch commands not allowed\r\n")

    def test_a_slow_watcher_is_told_how_much_it_missed(self):
        for flags in (("--cores", "2", "--affinity", "0"), ("--model", "thread-per-connection")):
            with self.subTest(flags=flags):
                self.miss_some(self.serve(*flags))

    def miss_some(self, cache):
        count, key = 60000, 200 * b"k"
        slow = Watcher(cache)
        self.addCleanup(slow.socket.close)
        slow.begin()
        client = self.client(cache)
        batch = b"mg %s q\r\n" % key * 1000
        for _ in range(count // 1000):
            client.expect(batch + b"mn\r\n", b"MN\r\n")  # nobody waits for the watcher
        quick = self.watcher(cache)
        client.expect(b"get last\r\n", b"END\r\n")
        self.assertRegex(quick.event(), rb"^item_get key=last ")
        seen = skipped = 0
        while True:
            line = slow.feed()
            if line.startswith(b"skipped="):
                skipped += int(line[8:])
                continue
            if b" key=last " in line:
                break
            seen += 1
        self.assertGreater(skipped, 0)
        self.assertEqual(seen + skipped, count)
        stats = client.stats()
        self.assertEqual(int(stats["log_watcher_skipped"]), skipped)
        self.assertEqual(int(stats["log_worker_dropped"]), skipped)
        self.assertEqual(int(stats["log_worker_written"]), count + 1)
        self.assertEqual(int(stats["log_watcher_sent"]), seen + 2)

    def test_twenty_watchers_at_most_and_all_of_them_go(self):
        cache = self.serve("--cores", "2", "--affinity", "0")
        client = self.client(cache)

        def count():
            return int(client.stats()["log_watchers"])

        watchers = [self.watcher(cache) for _ in range(20)]
        self.client(cache).expect(b"watch\r\nmn\r\n", b"WATCHER_TOO_MANY log watcher limit reached\r\nMN\r\n")
        client.expect(b"get all\r\n", b"END\r\n")
        for watcher in watchers:
            self.assertRegex(watcher.event(), rb"^item_get key=all ")
        self.assertEqual(count(), 20)
        for watcher in watchers[:5]:
            watcher.socket.close()
        for watcher in watchers[5:10]:
            watcher.socket.shutdown(socket.SHUT_WR)
            self.assertTrue(watcher.closed())
        wait_until(lambda: count() == 10)
        for watcher in watchers[10:]:
            watcher.send(b"get behind\r\nquit\r\n" + 20000 * b"x")  # thrown away
            watcher.socket.close()
        # A request, none, one whose body is still to come.
        for behind in (b"get behind\r\n", 20000 * b"x", b"set k 0 0 20000\r\n" + 100 * b"x"):
            pipelined = self.client(cache)
            pipelined.send(b"watch\r\n" + behind)
            self.assertEqual(pipelined.line(), b"OK")
            pipelined.socket.close()
        wait_until(lambda: count() == 0)
        self.watcher(cache)
        self.assertEqual(count(), 1)
        self.assertEqual(cache.stop(), 0)

    def test_many_clients_and_watchers_that_come_and_go(self):
        for ownership in ("crew", "owned", "shared"):
            with self.subTest(ownership=ownership):
                self.stir(self.serve("--cores", "2", "--affinity", "0", "--ownership", ownership))

    def stir(self, cache):
        rounds, clients = 1000, 4
        watcher = self.watcher(cache, b"mutations")
        troubles = []

        def work(name):
            try:
                with Client(cache) as client:
                    for i in range(rounds):
                        key = b"%s-%d" % (name, i % 50)
                        client.expect(b"set %s 0 0 1\r\nx\r\nget %s\r\n" % (key, key),
                                      b"STORED\r\nVALUE %s 0 1\r\nx\r\nEND\r\n" % key)
            except Exception as trouble:  # told by the main thread
                troubles.append(trouble)

        def visit():
            try:
                for _ in range(30):
                    visitor = Watcher(cache, b"fetchers connevents").begin()
                    visitor.event()
                    visitor.socket.close()
            except Exception as trouble:
                troubles.append(trouble)

        threads = [threading.Thread(target=work, args=(b"c%d" % i,)) for i in range(clients)]
        visitors = threading.Thread(target=visit)
        for thread in threads:
            thread.start()
        visitors.start()
        told = {}
        for _ in range(rounds * clients):  # by gid, or event() complains
            key = watcher.event().split(b" ")[1]
            told[key] = told.get(key, 0) + 1
        with Client(cache) as late:
            while visitors.is_alive():  # it may wait for something to happen
                late.expect(b"get late\r\n", b"END\r\n")
        for thread in [*threads, visitors]:
            thread.join()
        self.assertEqual(troubles, [])
        self.assertEqual(len(told), clients * 50)
        self.assertEqual(set(told.values()), {rounds // 50})

    def test_a_drain_does_not_wait_for_watchers(self):
        for flags in (("--cores", "2", "--affinity", "0"), ("--model", "thread-per-connection")):
            cache = self.serve(*flags)
            watcher = self.watcher(cache, b"fetchers connevents")
            self.assertEqual(cache.stop(), 0)
            while watcher.socket.recv(4096):
                pass


if __name__ == "__main__":
    unittest.main(verbosity=2)
