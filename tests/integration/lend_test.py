#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""lend: a core that sleeps lends its slices, and nothing but the wakings goes missing.

Goal: with --lend=on a request to the keys of a core that sleeps costs neither a letter nor a bell,
what it does is seen by everybody at once, and order on a connection stays; where a borrower may not
do it, the owner does. Method: two cores and one connection that asks for one thing after the other,
so that the other core sleeps; the counters in `stats` tell who was asked.
"""
import random
import unittest

from cache_process import CacheProcess, Client

KEYS = [b"key%d" % i for i in range(200)]
TWO = ("--cores", "2", "--affinity", "0")


class Lend(unittest.TestCase):
    def serve(self, *flags):
        cache = CacheProcess(*TWO, *flags).__enter__()
        self.addCleanup(cache.__exit__)
        return cache

    def client(self, cache):
        client = Client(cache)
        self.addCleanup(client.socket.close)
        return client

    def set_all(self, client, text):
        for key in KEYS:
            client.expect(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(text), text), b"STORED\r\n")

    def measure(self, client, act):
        """What was counted during `act`; `stats` itself asks the other core, a few letters."""
        before = client.stats()
        act()
        after = client.stats()
        return {name: int(after[name]) - int(before[name])
                for name in ("letters", "bells", "borrowed")}

    def test_writes_of_a_sleepers_keys_are_borrowed(self):
        for mode in ("crew", "owned"):
            with self.subTest(mode):
                client = self.client(self.serve("--ownership", mode, "--lend", "on"))
                did = self.measure(client, lambda: self.set_all(client, b"text"))
                # About half of the keys are the other core's. It wakes by itself now and then.
                self.assertGreater(did["borrowed"], len(KEYS) // 4, did)
                self.assertLess(did["letters"], len(KEYS) // 10, did)
                self.assertLess(did["bells"], len(KEYS) // 10, did)

    def test_nothing_is_borrowed_unless_it_is_lent(self):
        for flags in (("--ownership", "crew", "--lend", "off"), ("--ownership", "owned")):
            with self.subTest(flags):
                client = self.client(self.serve(*flags))
                self.assertEqual(client.stats(b"settings")["lend"], "no")
                did = self.measure(client, lambda: self.set_all(client, b"text"))
                self.assertEqual(did["borrowed"], 0, did)
                self.assertGreater(did["letters"], len(KEYS) // 2, did)

    def test_crew_lends_unless_told_otherwise(self):
        settings = self.client(self.serve()).stats(b"settings")
        self.assertEqual((settings["ownership"], settings["lend"]), ("crew", "yes"))

    def test_every_change_may_be_borrowed_and_is_seen_by_all(self):
        cache = self.serve()
        one, two = self.client(cache), self.client(cache)
        for key in KEYS:
            one.expect(b"add %s 5 0 2\r\n10\r\n" % key, b"STORED\r\n")
            two.expect(b"get %s\r\n" % key, b"VALUE %s 5 2\r\n10\r\nEND\r\n" % key)
            two.expect(b"incr %s 7\r\n" % key, b"17\r\n")
            one.expect(b"ma %s D2 v\r\n" % key, b"VA 2\r\n19\r\n")
            one.expect(b"touch %s 100\r\n" % key, b"TOUCHED\r\n")
            two.expect(b"gat 0 %s\r\n" % key, b"VALUE %s 5 2\r\n19\r\nEND\r\n" % key)
            two.expect(b"ms %s 3 F6\r\nabc\r\n" % key, b"HD\r\n")
            two.expect(b"append %s 0 0 1\r\nd\r\n" % key, b"STORED\r\n")
            one.expect(b"mg %s f v\r\n" % key, b"VA 4 f6\r\nabcd\r\n")
            one.expect(b"delete %s\r\n" % key, b"DELETED\r\n")
            two.expect(b"mg %s v\r\nmd %s\r\n" % (key, key), b"EN\r\nNF\r\n")
        stats = two.stats()
        self.assertGreater(int(stats["borrowed"]), len(KEYS))
        self.assertEqual((stats["cmd_set"], stats["delete_hits"], stats["delete_misses"]),
                         (str(3 * len(KEYS)), str(len(KEYS)), str(len(KEYS))))

    def test_what_needs_upkeep_is_the_owners(self):
        client = self.client(self.serve("-m", "16"))
        long = b"x" * 12000

        def store():
            for key in KEYS:
                client.expect(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(long), long), b"STORED\r\n")
        did = self.measure(client, store)
        self.assertEqual(did["borrowed"], 0, did)
        self.assertGreater(did["letters"], len(KEYS) // 2, did)

    def test_a_full_store_still_takes_everything(self):
        client = self.client(self.serve("-m", "8"))
        text = b"y" * 2000
        for i in range(10000):
            client.expect(b"set many%d 0 0 2000\r\n%s\r\n" % (i, text), b"STORED\r\n")
        stats = client.stats()
        self.assertGreater(int(stats["evictions"]), 1000)
        self.assertGreater(int(stats["borrowed"]), 1000)

    def test_order_stays_among_letters_and_borrowing(self):
        for mode in ("crew", "owned"):
            cache = self.serve("--ownership", mode, "--lend", "on")
            clients = [self.client(cache) for _ in range(3)]
            random_ = random.Random(1)
            for number in range(100):
                for index, client in enumerate(clients):
                    asked = said = b""
                    for key in random_.sample(KEYS, 1 + number % 12):
                        key += b"-%d" % index
                        text = b"%d" % number
                        asked += b"set %s 0 0 %d noreply\r\n%s\r\n" % (key, len(text), text)
                        # An append goes by letter, what follows it may not overtake it.
                        asked += b"append %s 0 0 1\r\n+\r\nmg %s v\r\n" % (key, key)
                        asked += b"ms %s 1\r\nz\r\nget %s\r\n" % (key, key)
                        said += (b"STORED\r\nVA %d\r\n%s+\r\nHD\r\nVALUE %s 0 1\r\nz\r\nEND\r\n"
                                 % (len(text) + 1, text, key))
                    client.expect(asked, said)


if __name__ == "__main__":
    unittest.main(verbosity=2)
