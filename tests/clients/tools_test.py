#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""cache_clients: Debian's clients, unmodified, use percore as they would memcached.

Goal: whoever swaps the server changes nothing else. Method: python3-pymemcache and the programs of
libmemcached-tools against a real process; a client that is not installed is skipped by name.
"""
import os
import shutil
import subprocess
import tempfile
import unittest

from cache_process import CacheProcess

try:
    from pymemcache.client.base import Client as PyMemcache
except ImportError:
    PyMemcache = None

FLAGS = ("--cores", "2", "--affinity", "0")


@unittest.skipIf(PyMemcache is None, "python3-pymemcache is not installed")
class Pymemcache(unittest.TestCase):
    def setUp(self):
        self.cache = CacheProcess(*FLAGS).__enter__()
        self.addCleanup(self.cache.__exit__)
        self.client = PyMemcache(self.cache.address)
        self.addCleanup(self.client.close)

    def test_every_command_it_has(self):
        client = self.client
        self.assertTrue(client.set("a", b"1", noreply=False))
        self.assertEqual(client.get("a"), b"1")
        self.assertFalse(client.add("a", b"2", noreply=False))
        self.assertTrue(client.replace("a", b"3", noreply=False))
        self.assertTrue(client.append("a", b"4", noreply=False))
        self.assertTrue(client.prepend("a", b"5", noreply=False))
        value, cas = client.gets("a")
        self.assertEqual(value, b"534")
        self.assertTrue(client.cas("a", b"10", cas))
        self.assertFalse(client.cas("a", b"11", cas))
        self.assertIsNone(client.cas("none", b"11", cas))
        self.assertEqual(client.incr("a", 5), 15)
        self.assertEqual(client.decr("a", 20), 0)
        self.assertIsNone(client.incr("none", 5))
        self.assertTrue(client.touch("a", 100, noreply=False))
        if hasattr(client, "gat"):  # from pymemcache 4 on
            self.assertEqual(client.gat("a", 100), b"0 ")
            self.assertEqual(client.gats("a", 100)[0], b"0 ")
        self.assertTrue(client.delete("a", noreply=False))
        self.assertFalse(client.delete("a", noreply=False))
        self.assertIsNone(client.get("a"))
        self.assertTrue(client.version())
        self.assertIn(b"curr_items", client.stats())
        self.assertIn(b"item_size_max", client.stats("settings"))
        self.assertTrue(client.flush_all(noreply=False))
        client.quit()

    def test_a_thousand_keys_at_once(self):
        values = {f"key{i}": b"%d" % i for i in range(1000)}
        self.assertEqual(self.client.set_many(values, noreply=False), [])
        self.assertEqual(self.client.get_many(list(values)), values)
        self.assertEqual(len(self.client.gets_many(list(values))), 1000)
        self.assertTrue(self.client.delete_many(list(values), noreply=False))
        self.assertEqual(self.client.get_many(list(values)), {})

    def test_a_value_of_a_mebibyte(self):
        value = os.urandom(1 << 20)
        self.assertTrue(self.client.set("a", value, noreply=False))
        self.assertEqual(self.client.get("a"), value)

    def test_expiry(self):
        self.client.set("a", b"1", expire=-1, noreply=False)
        self.assertIsNone(self.client.get("a"))


class Libmemcached(unittest.TestCase):
    def setUp(self):
        self.cache = CacheProcess(*FLAGS).__enter__()
        self.addCleanup(self.cache.__exit__)
        self.servers = "--servers=%s:%d" % self.cache.address

    def run_tool(self, name, *flags):
        program = shutil.which(name)
        if program is None:
            self.skipTest(f"{name} of libmemcached-tools is not installed")
        return subprocess.run([program, *flags], capture_output=True, text=True, timeout=120)

    def test_copy_cat_touch_exist_remove_flush_stat(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "file")
            with open(path, "w", encoding="ascii") as file:
                file.write("content\n" * 10000)
            copied = self.run_tool("memccp", self.servers, path)
            self.assertEqual(copied.returncode, 0, copied.stderr)
            self.assertEqual(self.run_tool("memccat", self.servers, "file").stdout.rstrip("\n"),
                             ("content\n" * 10000).rstrip("\n"))
            self.assertEqual(self.run_tool("memctouch", self.servers, "--expire=100", "file").returncode, 0)
            self.assertEqual(self.run_tool("memcexist", self.servers, "file").returncode, 0)
            self.assertEqual(self.run_tool("memcrm", self.servers, "file").returncode, 0)
            self.assertNotEqual(self.run_tool("memcexist", self.servers, "file").returncode, 0)
            self.assertEqual(self.run_tool("memcflush", self.servers).returncode, 0)
            self.assertIn("curr_items", self.run_tool("memcstat", self.servers).stdout)
            self.assertEqual(self.run_tool("memcping", self.servers).returncode, 0)

    def test_its_capability_suite(self):
        host, port = self.cache.address
        for protocol in ("-a", "-b"):
            done = self.run_tool("memccapable", "-h", host, "-p", str(port), protocol)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn("All tests passed", done.stdout)

    def test_the_binary_protocol(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "file")
            with open(path, "w", encoding="ascii") as file:
                file.write("content\n" * 10000)
            self.assertEqual(self.run_tool("memccp", self.servers, "--binary", path).returncode, 0)
            shown = self.run_tool("memccat", self.servers, "--binary", "file").stdout
            self.assertEqual(shown.rstrip("\n"), ("content\n" * 10000).rstrip("\n"))
            self.assertEqual(self.run_tool("memcrm", self.servers, "--binary", "file").returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
