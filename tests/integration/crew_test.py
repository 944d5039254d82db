#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""crew: what reading other cores' slices must not change, and that it happens.

Goal: whoever answers a read, counts are exact, flushes and expiry are seen at once, an earlier
request of the connection is never overtaken, and what is read is known to the owner. Method: two
cores and a connection on each, so that half of all keys belong to the other core; `peeks` tells how
reads were answered.
"""
import random
import unittest

from cache_process import CacheProcess, Client
from percore_process import wait_until

KEYS = [b"key%d" % i for i in range(200)]
CREW = ("--cores", "2", "--affinity", "0", "--ownership", "crew")


def value_of(key, size=100):
    return (key * size)[:size]


class Crew(unittest.TestCase):
    def setUp(self):
        self.cache = CacheProcess(*CREW).__enter__()
        self.addCleanup(self.cache.__exit__)
        self.clients = [Client(self.cache), Client(self.cache)]
        for client in self.clients:
            self.addCleanup(client.socket.close)
            client.expect(b"version\r\n", b"VERSION ")
            client.line()

    def store(self, size=100, exptime=b"0"):
        self.clients[0].expect(
            b"".join(b"set %s 7 %s %d\r\n%s\r\n" % (key, exptime, size, value_of(key, size))
                     for key in KEYS), b"STORED\r\n" * len(KEYS))

    def read(self, client, size=100):
        for key in KEYS:
            client.expect(b"get %s\r\n" % key,
                          b"VALUE %s 7 %d\r\n%s\r\nEND\r\n" % (key, size, value_of(key, size)))

    def test_half_of_the_reads_are_peeks_and_all_are_counted(self):
        self.store()
        for client in self.clients:
            self.read(client)
            client.expect(b"get absent\r\n", b"END\r\n")
        stats = self.clients[1].stats()
        self.assertEqual((stats["cmd_get"], stats["get_hits"], stats["get_misses"]),
                         (str(2 * len(KEYS) + 2), str(2 * len(KEYS)), "2"))
        # Each key is foreign to exactly one of the two.
        self.assertEqual((stats["peeks"], stats["peeks_refused"]), (str(len(KEYS) + 1), "0"))
        self.clients[0].expect(b"stats reset\r\n", b"RESET\r\n")
        stats = self.clients[1].stats()
        self.assertEqual((stats["cmd_get"], stats["get_hits"], stats["peeks"]), ("0", "0", "0"))

    def test_every_form_of_a_read_peeks(self):
        self.store()
        client = self.clients[1]
        for key in KEYS:
            unique = client.ask(b"gets %s\r\n" % key).split()[4]
            client.exactly(len(value_of(key)) + 7)
            client.expect(b"mg %s v f c t s k Oq\r\n" % key,
                          b"VA 100 f7 c%s t-1 s100 k%s Oq\r\n%s\r\n" % (unique, key, value_of(key)))
            client.expect(b"mg %s C%s v\r\n" % (key, unique), b"HD\r\n")
            client.expect(b"mg %s\r\nmg no%s v q\r\nmn\r\n" % (key, key), b"HD\r\nMN\r\n")
        client.expect(b"get " + b" ".join(KEYS) + b"\r\n",
                      b"".join(b"VALUE %s 7 100\r\n%s\r\n" % (key, value_of(key)) for key in KEYS) +
                      b"END\r\n")
        stats = client.stats()
        reads = int(stats["cmd_get"])
        self.assertEqual(stats["peeks_refused"], "0")
        self.assertTrue(reads * 0.3 < int(stats["peeks"]) < reads * 0.7, stats)

    def test_what_a_peek_cannot_carry_is_asked_for(self):
        for size in (15000, 17000, 100000):
            self.store(size)
            self.read(self.clients[1], size)
        self.assertGreater(int(self.clients[0].stats()["peeks_refused"]), len(KEYS) // 2)

    def test_a_flush_is_seen_at_once(self):
        for _ in range(20):
            self.store()
            self.read(self.clients[1])
            self.clients[0].expect(b"flush_all\r\n", b"OK\r\n")
            for key in KEYS[:40]:
                self.clients[1].expect(b"get %s\r\nmg %s v\r\n" % (key, key), b"END\r\nEN\r\n")

    def test_a_delayed_flush_takes_all_at_one_second(self):
        self.store()
        self.clients[0].expect(b"flush_all 1\r\n", b"OK\r\n")
        client = self.clients[1]
        wait_until(lambda: client.ask(b"mg %s\r\n" % KEYS[0]) == b"EN")
        for key in KEYS:
            client.expect(b"get %s\r\n" % key, b"END\r\n")
        self.store()
        self.read(client)

    def test_expiry_is_seen_by_all_at_one_second(self):
        self.store(exptime=b"1")
        wait_until(lambda: self.clients[1].ask(b"mg %s\r\n" % KEYS[0]) == b"EN")
        for client in self.clients:
            for key in KEYS:
                client.expect(b"get %s\r\n" % key, b"END\r\n")

    def test_a_read_never_overtakes_its_connection(self):
        random_ = random.Random(1)
        for client in self.clients:
            for number in range(60):
                some = random_.sample(KEYS, 20)
                asked, said = b"", b""
                for key in some:
                    text = b"%d" % number
                    asked += b"set %s 0 0 %d noreply\r\n%s\r\n" % (key, len(text), text)
                    asked += b"get %s\r\n" % key if random_.random() < 0.5 else b"mg %s v\r\n" % key
                    said += (b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key, len(text), text)
                             if asked.endswith(b"get %s\r\n" % key)
                             else b"VA %d\r\n%s\r\n" % (len(text), text))
                    asked += b"append %s 0 0 1 noreply\r\n+\r\nget nokey %s\r\n" % (key, key)
                    said += b"VALUE %s 0 %d\r\n%s+\r\nEND\r\n" % (key, len(text) + 1, text)
                client.expect(asked, said)

    def test_the_owner_hears_of_what_was_read(self):
        self.store()
        for key in KEYS:
            self.clients[0].expect(b"mg %s h u\r\n" % key, b"HD h0\r\n")
        wait_until(lambda: self.heard_all())

    def test_hot_keys_are_seen_through_any_core(self):
        self.store()
        # One of the two does not own it: it alone reads on, by peeks.
        for client in self.clients:
            before = int(client.stats()["peeks"])
            client.expect(b"get key7\r\n" * 200,
                          b"VALUE key7 7 100\r\n%s\r\nEND\r\n" % value_of(b"key7") * 200)
            if int(client.stats()["peeks"]) > before:
                break
        else:
            self.fail("key7 belongs to neither core")

        def hot():
            client.expect(b"get key7\r\n" * 200,
                          b"VALUE key7 7 100\r\n%s\r\nEND\r\n" % value_of(b"key7") * 200)
            return "key7" in " ".join(client.stats(b"hotkeys").values())

        wait_until(hot)

    def heard_all(self):
        # Rings drop what they have no room for: read again what was not heard of.
        unheard = [key for key in KEYS if self.clients[0].ask(b"mg %s h u\r\n" % key) == b"HD h0"]
        for key in unheard:
            self.clients[hash(key) % 2].expect(b"mg %s\r\n" % key, b"HD\r\n")
            self.clients[1 - hash(key) % 2].expect(b"mg %s\r\n" % key, b"HD\r\n")
        return not unheard


if __name__ == "__main__":
    unittest.main(verbosity=2)
