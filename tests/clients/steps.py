#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""steps: one script for clients that others wrote, unmodified, in whatever language.

Goal: whoever swaps memcached for percore changes nothing else. Method: a driver is a small program in
the client's language that reads one request a line, {"op": ..., ...}, has the client do it, and answers
{"result": ...} or {"error": ...}; its first line names the client and the ops it has. The steps are here,
once, and ask each driver for what it has. Values travel as base64. A client that is not installed is
skipped by name.

    steps.py [--reference] DRIVER [WORD...]   DRIVER: a file of this folder; WORDs: text, binary, ...
"""
import base64
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "integration"), os.path.join(HERE, "..", "conformance")]

import debian_packages  # noqa: E402
import npm_packages  # noqa: E402
from cache_process import CacheProcess  # noqa: E402
from percore_process import wait_until  # noqa: E402

FLAGS = ("--cores", "2", "--affinity", "0", "-m", "128", "-I", "2m")
ANSWER_SECONDS = 60
SKIPPED = 77
INTERPRETERS = {".py": ["/usr/bin/python3"], ".php": ["php"], ".pl": ["perl"], ".rb": ["ruby"], ".js": ["node"],
                ".go": ["go", "run"]}
GO_LIBRARIES = "/usr/share/gocode"  # where Debian's packages put them


class Refused(Exception):
    """The client raised; what it said."""


class Missing(Exception):
    """The client is not installed."""


class Driver:
    def __init__(self, command, address, words, environment):
        self.process = subprocess.Popen([*command, *address, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=environment)
        first = self.process.stdout.readline()
        if not first:
            said = self.process.stderr.read()
            code = self.process.wait()
            self.close()
            if code == SKIPPED:
                raise Missing(said.strip())
            raise AssertionError(f"{command} ended with {code}: {said}")
        hello = json.loads(first)
        self.name, self.ops = hello["client"], set(hello["ops"])
        self.keeps_line_ends = hello.get("keeps_line_ends", True)

    def ask(self, op, **request):
        self.process.stdin.write(json.dumps({"op": op, **request}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"{self.name} ended at {op}: {self.process.stderr.read()}")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(f"{op}: {answer['error']}")
        return answer["result"]

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


class Reference:
    """Debian's memcached in the place of percore: it proves the steps."""

    def __init__(self, port):
        self.port = port

    def __enter__(self):
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen([shutil.which("memcached"), "-l", "127.0.0.1", "-p", str(self.port), "-U", "0",
                                         "-I", "2m", "-m", "128", *user])
        self.address = ("127.0.0.1", self.port)
        wait_until(self.answers)
        return self

    def answers(self):
        try:
            socket.create_connection(self.address).close()
            return True
        except ConnectionRefusedError:
            return False

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def encoded(value):
    return base64.b64encode(value).decode("ascii")


def decoded(text):
    return None if text is None else base64.b64decode(text)


def needs(*ops):
    """A step for clients that have these."""
    def mark(step):
        step.needs = set(ops)
        return step
    return mark


class Steps(unittest.TestCase):
    reference = False
    file = ""
    words = ()
    environment = None

    @classmethod
    def start(cls, port=None):
        if cls.reference:
            return Reference(port or free_port()).__enter__()
        return CacheProcess(*FLAGS, listen=("-l", "127.0.0.1", "-p", str(port or 0))).__enter__()

    @classmethod
    def drive(cls, port):
        command = [*INTERPRETERS[os.path.splitext(cls.file)[1]], os.path.join(HERE, cls.file)]
        return Driver(command, ("127.0.0.1", str(port)), cls.words, cls.environment)

    # One server and one client for all steps; each finds an empty store.

    @classmethod
    def setUpClass(cls):
        cls.server = cls.start()
        cls.addClassCleanup(lambda: cls.server.__exit__(None, None, None))
        cls.driver = cls.drive(cls.server.address[1])
        cls.addClassCleanup(cls.driver.close)

    def setUp(self):
        with socket.create_connection(self.server.address) as peer:
            peer.sendall(b"flush_all\r\n")
            self.assertEqual(peer.makefile("rb").readline(), b"OK\r\n")

    def lacks(self, ops):
        return getattr(getattr(self, self._testMethodName), "needs", set()) - ops

    def has(self, op):
        return op in self.driver.ops

    def set(self, key, value, exptime=0, op="set"):
        return self.driver.ask(op, key=key, value=encoded(value), exptime=exptime)

    def get(self, key, op="get", **more):
        return decoded(self.driver.ask(op, key=key, **more))

    def ask(self, op, key, **more):
        return self.driver.ask(op, key=key, **more)

    def get_many(self, keys):
        if self.has("get_many"):
            found = self.driver.ask("get_many", keys=keys)
            return {key: decoded(value) for key, value in found.items()} if found else {}
        found = {key: self.get(key) for key in keys}
        return {key: value for key, value in found.items() if value is not None}

    # The steps.

    def test_store_and_get(self):
        self.assertIsNone(self.get("a"))
        self.assertTrue(self.set("a", b"1"))
        self.assertEqual(self.get("a"), b"1")
        self.assertFalse(self.set("a", b"2", op="add"))
        self.assertTrue(self.set("b", b"2", op="add"))
        self.assertTrue(self.set("a", b"3", op="replace"))
        self.assertFalse(self.set("none", b"3", op="replace"))
        self.assertEqual(self.get_many(["a", "b", "none"]), {"a": b"3", "b": b"2"})
        self.assertTrue(self.ask("delete", "a"))
        self.assertFalse(self.ask("delete", "a"))
        self.assertIsNone(self.get("a"))

    @needs("append")
    def test_append(self):
        self.set("a", b"begin")
        self.assertTrue(self.set("a", b" end", op="append"))
        self.assertEqual(self.get("a"), b"begin end")
        self.assertFalse(self.set("none", b"x", op="append"))

    @needs("prepend")
    def test_prepend(self):
        self.set("a", b"end")
        self.assertTrue(self.set("a", b"begin ", op="prepend"))
        self.assertEqual(self.get("a"), b"begin end")
        self.assertFalse(self.set("none", b"x", op="prepend"))

    def test_count(self):
        self.set("n", b"10")
        self.assertEqual(self.ask("incr", "n", delta=5), 15)
        self.assertEqual(self.ask("decr", "n", delta=1), 14)
        self.assertEqual(self.ask("decr", "n", delta=100), 0)
        if not self.has("incr_initial"):
            self.assertIsNone(self.ask("incr", "none", delta=1))

    @needs("incr_initial")
    def test_count_from_a_first_value(self):
        self.assertEqual(self.ask("incr_initial", "n", delta=5, initial=7), 7)
        self.assertEqual(self.ask("incr_initial", "n", delta=5, initial=7), 12)

    @needs("gets", "cas")
    def test_cas(self):
        self.assertIsNone(self.get("a", op="gets"))
        self.set("a", b"1")
        self.assertEqual(self.get("a", op="gets"), b"1")
        self.assertTrue(self.set("a", b"2", op="cas"))
        self.assertEqual(self.get("a", op="gets"), b"2")
        self.set("a", b"of somebody else")
        self.assertFalse(self.set("a", b"3", op="cas"))
        self.assertEqual(self.get("a"), b"of somebody else")
        self.get("a", op="gets")
        self.ask("delete", "a")
        self.assertFalse(self.set("a", b"4", op="cas"))
        self.assertIsNone(self.get("a"))

    def test_a_thousand_keys_at_once(self):
        values = {f"key{i}": b"value %d" % i * (1 + i % 40) for i in range(1000)}
        if self.has("set_many"):
            self.assertTrue(self.driver.ask("set_many", values={key: encoded(values[key]) for key in values}))
        else:
            for key, value in values.items():
                self.assertTrue(self.set(key, value))
        self.assertEqual(self.get_many([*values, "none"]), values)
        if self.has("delete_many"):
            self.assertTrue(self.driver.ask("delete_many", keys=list(values)))
            self.assertEqual(self.get_many(list(values)), {})

    def test_any_bytes_of_any_length(self):
        source = random.Random(4)
        keep = (lambda value: value) if self.driver.keeps_line_ends else (lambda value: value.replace(b"\r\n", b"  "))
        for count in (0, 1, 2, 511, 512, 513, 4095, 4096, 4097, 16383, 16384, 16385, 70000, 1 << 20):
            value = keep(source.randbytes(count))
            self.assertTrue(self.set("a", value), count)
            self.assertEqual(self.get("a"), value, count)
        for value in (b"\r\n", b"END\r\n", b"\0", b"VALUE a 0 1\r\nx\r\n", bytes(range(256))):
            self.set("a", keep(value))
            self.assertEqual(self.get("a"), keep(value))

    def test_a_value_too_long(self):
        self.set("a", b"small")
        try:
            self.assertFalse(self.set("a", os.urandom(3 << 20)))
        except Refused:
            pass  # some clients raise
        wait_until(self.works)

    def test_a_key_of_250_bytes(self):
        self.assertTrue(self.set("k" * 250, b"1"))
        self.assertEqual(self.get("k" * 250), b"1")

    def test_expiry(self):
        self.set("stays", b"1", exptime=1000)
        self.set("goes", b"1", exptime=1)
        wait_until(lambda: self.get("goes") is None)
        self.assertEqual(self.get("stays"), b"1")

    @needs("touch")
    def test_touch(self):
        self.set("a", b"1", exptime=1000)
        self.set("b", b"1", exptime=1000)
        self.assertTrue(self.ask("touch", "a", exptime=1))
        self.assertFalse(self.ask("touch", "none", exptime=1))
        if self.has("gat"):
            self.assertEqual(self.get("b", op="gat", exptime=1), b"1")
            self.assertIsNone(self.get("none", op="gat", exptime=1))
            wait_until(lambda: self.get("b") is None)
        wait_until(lambda: self.get("a") is None)

    @needs("flush")
    def test_flush(self):
        self.set("a", b"1")
        self.assertTrue(self.driver.ask("flush"))
        self.assertIsNone(self.get("a"))
        self.assertTrue(self.set("a", b"2"))
        self.assertEqual(self.get("a"), b"2")

    @needs("stats")
    def test_stats(self):
        self.set("a", b"1")
        stats = self.driver.ask("stats")
        for name in ("curr_items", "pid", "uptime", "cmd_get", "get_hits", "limit_maxbytes"):
            self.assertIn(name, stats)
        self.assertGreaterEqual(int(stats["curr_items"]), 1)

    @needs("version")
    def test_version(self):
        self.assertRegex(self.driver.ask("version"), r"1\.\d+\.\d+")

    @needs("typed")
    def test_values_with_a_type(self):
        self.assertTrue(self.driver.ask("typed"))

    @needs("own")
    def test_what_only_this_client_has(self):
        self.assertTrue(self.driver.ask("own"))

    def works(self):
        try:
            return bool(self.set("again", b"1")) and self.get("again") == b"1"
        except Refused:
            return False

    def test_a_server_that_comes_back(self):
        self.assertTrue(self.works())
        port = self.server.address[1]
        self.server.__exit__(None, None, None)
        try:
            self.assertFalse(self.set("a", b"1"))
        except Refused:
            pass
        Steps.server = self.start(port)
        wait_until(self.works)
        self.assertIsNone(self.get("a"))


def environment_of(file, words):
    """What the driver's language needs to find its library."""
    environment = dict(os.environ)
    if file.endswith(".js"):
        environment["NODE_PATH"] = npm_packages.fetch()
    elif file == "dalli_driver.rb" and "meta" in words:
        environment["RUBYLIB"] = debian_packages.ruby_library(debian_packages.RUBY_DALLI)
    elif file.endswith(".go"):
        if not os.path.exists(os.path.join(GO_LIBRARIES, "src/github.com/bradfitz/gomemcache")):
            raise Missing("golang-github-bradfitz-gomemcache-dev is not installed")
        environment.update(GO111MODULE="off", GOPATH=GO_LIBRARIES, GOFLAGS="-buildvcs=false",
                           GOCACHE=os.environ["GO_FOLDER"])
    return environment


def main(arguments):
    if arguments[:1] == ["--reference"]:
        Steps.reference = True
        arguments = arguments[1:]
    if not arguments:
        sys.exit(__doc__)
    Steps.file, Steps.words = arguments[0], arguments[1:]
    interpreter = INTERPRETERS[os.path.splitext(Steps.file)[1]][0]
    try:
        if shutil.which(interpreter) is None:
            raise Missing(f"{interpreter} is not installed")
        Steps.environment = environment_of(Steps.file, Steps.words)
        # Who the client is and what it has is asked once, of a driver without a server.
        driver = Steps.drive(free_port())
        driver.close()
    except (Missing, npm_packages.Unreachable, debian_packages.Unreachable) as reason:
        print(f"skipped: {reason}")
        return SKIPPED
    steps = [Steps(name) for name in unittest.TestLoader().getTestCaseNames(Steps)]
    lacking = set().union(*(step.lacks(driver.ops) for step in steps))
    print(driver.name + (f" has no {', '.join(sorted(lacking))}" if lacking else ""), flush=True)
    suite = unittest.TestSuite(step for step in steps if not step.lacks(driver.ops))
    return 0 if unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
