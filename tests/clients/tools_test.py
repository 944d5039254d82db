#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tools: the command line tools that people keep beside memcached, unmodified, against percore.

Goal: whoever swaps the server changes nothing else. Method: the programs of libmemcached-tools and
memcached's own memcached-tool against a real process; one that is not installed is skipped by name.
Libraries have steps.py.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

from cache_process import CacheProcess, Client  # noqa: E402

FLAGS = ("--cores", "2", "--affinity", "0")


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


class MemcachedTool(unittest.TestCase):
    PROGRAM = "/usr/share/memcached/scripts/memcached-tool"

    def setUp(self):
        if not os.path.exists(self.PROGRAM):
            self.skipTest("memcached-tool of memcached is not installed")
        self.cache = CacheProcess(*FLAGS).__enter__()
        self.addCleanup(self.cache.__exit__)
        with Client(self.cache) as client:
            for i in range(100):
                client.expect(b"set key%d 7 0 5\r\nvalue\r\n" % i, b"STORED\r\n")

    def run_tool(self, *words):
        done = subprocess.run(["perl", self.PROGRAM, "%s:%d" % self.cache.address, *words], capture_output=True,
                              text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_display(self):
        lines = self.run_tool("display").splitlines()
        heads = lines[0].replace("Max age", "Max_age").split()
        rows = [dict(zip(heads, line.split())) for line in lines[1:]]
        self.assertEqual(sum(int(row["Count"]) for row in rows), 100)

    def test_stats(self):
        stats = dict(line.split() for line in self.run_tool("stats").splitlines() if len(line.split()) == 2)
        self.assertEqual(stats["curr_items"], "100")
        self.assertEqual(stats["cmd_set"], "100")

    def test_settings(self):
        self.assertIn("item_size_max", self.run_tool("settings"))

    def test_sizes(self):
        self.assertIn("Size", self.run_tool("sizes"))

    def test_dump(self):
        with Client(self.cache) as client:
            if client.ask(b"lru_crawler metadump all\r\n").startswith(b"ERROR"):
                self.skipTest("dump asks lru_crawler, which this server does not have")
        dumped = self.run_tool("dump").splitlines()
        for i in range(100):
            self.assertIn("add key%d 7 0 5" % i, dumped)


if __name__ == "__main__":
    unittest.main(verbosity=2)
