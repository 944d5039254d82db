#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""load: the generator says what happened, whatever the server does.

Goal: against memcached, redis and our own servers every request is accounted for and every value is
checked; a server that lies, stalls, resets or is not there is named in one line with its exit code.
Method: real servers on unix sockets or ports of the system's choice, and an invented server whose
every answer the test decides. Counts, keys and codes are asserted; times never are. What needs a
quiet machine is in bench/load_*.py.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse

PERCORE = os.environ["PERCORE"]
HDR_JAR = "/usr/share/java/hdrhistogram.jar"
FINE, TROUBLE, USAGE, PARTIAL, WRONG, INVALID = range(6)

# Short, and lag is not judged: the machine that runs tests is busy.
QUICK = ["--duration", "0.3", "--warmup", "0.05", "--rate", "2000", "--lag-gate-us", "0"]


def load(*words, timeout=60):
    return subprocess.run([PERCORE, "load", *words], capture_output=True, text=True, check=False,
                          timeout=timeout)


def result(*words):
    """Run with --json -; the code and the object."""
    done = load(*words, "--json", "-")
    if not done.stdout.startswith("{"):
        raise AssertionError(f"exit {done.returncode}: {done.stdout}{done.stderr}")
    return done.returncode, json.loads(done.stdout)


def wait_for(condition, what):
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen in 20 s")
        time.sleep(0.005)


def connects(path):
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


@contextlib.contextmanager
def process(*words, **more):
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, **more) as server:
        try:
            yield server
        finally:
            server.send_signal(signal.SIGCONT)
            server.kill()


@contextlib.contextmanager
def memcached(*flags):
    if shutil.which("memcached") is None:
        raise unittest.SkipTest("memcached is not installed")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = os.path.join(folder, "memcached.sock")
        user = ["-u", "root"] if os.geteuid() == 0 else []
        with process("memcached", "-s", path, *user, *flags) as server:
            wait_for(lambda: os.path.exists(path) and connects(path), "memcached's start")
            yield f"memcached://{path}", server


@contextlib.contextmanager
def redis():
    if shutil.which("redis-server") is None:
        raise unittest.SkipTest("redis-server is not installed")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "redis.sock")
        with process("redis-server", "--port", "0", "--unixsocket", path, "--save", "",
                     "--appendonly", "no", "--dir", folder):
            wait_for(lambda: os.path.exists(path) and connects(path), "redis' start")
            yield f"redis://{path}"


@contextlib.contextmanager
def percore(command, *flags):
    """`percore echo` or `percore cache` on a unix socket."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "percore.sock")
        where = ["-l", f"unix:{path}"] if command == "echo" else ["-s", path]
        user = ["-u", "root"] if command == "cache" and os.geteuid() == 0 else []
        with process(PERCORE, command, *where, *user, *flags):
            wait_for(lambda: os.path.exists(path) and connects(path), f"percore {command}'s start")
            yield f"{'frame' if command == 'echo' else 'memcached'}://{path}"


class Invented:
    """A server on 127.0.0.1 that answers each connection by `talk(connection)`, in threads."""

    def __init__(self, talk):
        self.talk = talk
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.connections = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with contextlib.suppress(OSError), connection:
            self.talk(connection)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        for connection in self.connections:
            connection.close()


def frames(connection):
    """The bodies that a connection sends."""
    data = b""
    while True:
        while len(data) < 4 or len(data) < 4 + struct.unpack(">I", data[:4])[0]:
            more = connection.recv(65536)
            if not more:
                return
            data += more
        end = 4 + struct.unpack(">I", data[:4])[0]
        yield data[4:end]
        data = data[end:]


def frame(body):
    return struct.pack(">I", len(body)) + body


def echo(connection):
    for body in frames(connection):
        connection.sendall(frame(body))


class Servers(unittest.TestCase):
    """What a person runs it for."""

    def check_counts(self, counts, planned=None):
        self.assertEqual(counts["sent"], counts["scheduled"])
        self.assertEqual(counts["received"], counts["sent"])
        self.assertEqual(counts["response_us"]["count"], counts["received"])
        for name in ("errors", "mismatches", "short_answers", "reorders", "unanswered"):
            self.assertEqual(counts[name], 0, name)
        if planned is not None:
            self.assertEqual(counts["scheduled"], planned)

    def test_defaults_fill_measure_and_print(self):
        with memcached() as (url, _):
            done = load(url, "--duration", "0.5", "--warmup", "0.1", "--lag-gate-us", "0")
            self.assertEqual(done.returncode, FINE, done.stderr)
            self.assertRegex(done.stdout, r"response +[0-9.]+ (us|ms|s)")
            self.assertRegex(done.stdout, r"scheduled (\d+), sent \1, received \1")
            self.assertNotIn("misses", done.stdout.replace("get_misses", ""))
            self.assertEqual(done.stderr, "", "quiet when piped")
            self.assertIn("cmd_set", done.stdout)

    def test_every_operation_of_memcached(self):
        operations = ("get", "gets", "mget", "set", "add", "delete", "append", "incr", "cas",
                      "touch", "gat", "meta", "meta-set")
        with memcached() as (url, _):
            code, counts = result(url, *QUICK, "--keys", "500", "--mix", ",".join(operations))
            self.assertEqual(code, FINE, counts["trouble"])
            self.check_counts(counts)
            self.assertEqual(sorted(counts["operations_us"]), sorted(operations))
            self.assertEqual(sum(part["count"] for part in counts["operations_us"].values()),
                             counts["received"])

    def test_every_operation_of_redis(self):
        operations = ("get", "mget", "set", "add", "delete", "incr", "touch")
        with redis() as url:
            code, counts = result(url, *QUICK, "--keys", "500", "--mix", ",".join(operations))
            self.assertEqual(code, FINE, counts["trouble"])
            self.check_counts(counts)
            self.assertEqual(sorted(counts["operations_us"]), sorted(operations))

    def test_frames_against_an_echo(self):
        with Invented(echo) as server:
            code, counts = result(f"frame://127.0.0.1:{server.port}", *QUICK, "--value-bytes",
                                  "16-5000")
            self.assertEqual(code, FINE, counts["trouble"])
            self.check_counts(counts)
            self.assertGreater(counts["stamps_alone"], 0)
            self.assertEqual(counts["network_server_us"]["count"], counts["stamps_alone"])

    def test_our_own_echo(self):
        for model in ("per-core", "thread-pool", "thread-per-connection"):
            with self.subTest(model=model), percore("echo", "--model", model, "-t", "2") as url:
                code, counts = result(url, *QUICK, "--value-bytes", "16-3000", "--threads", "2")
                self.assertEqual(code, FINE, counts["trouble"])
                self.check_counts(counts)

    def test_our_own_echo_does_the_work_it_is_asked_for(self):
        with percore("echo", "--work", "-t", "1") as url:
            code, counts = result(url, *QUICK, "--preset", "spin-fixed", "--service-us", "200",
                                  "--rate", "100")
            self.assertEqual(code, FINE, counts["trouble"])
            self.check_counts(counts)
            self.assertGreater(counts["from_send_us"]["min"], 200)

    def test_our_own_cache(self):
        with percore("cache", "-t", "2") as url:
            for words in (["--preset", "etc"], ["--preset", "tw52"], ["--preset", "tw23"],
                          ["--mix", "get=1,mget=1,set=1,delete=1,append=1,gat=1,touch=1"],
                          ["--closed", "--depth", "16"]):
                with self.subTest(words=words):
                    code, counts = result(url, *QUICK, *words, "--keys", "2000", "--threads", "2")
                    self.assertEqual(code, FINE, counts["trouble"])
                    self.check_counts(counts)

    def test_frames_carry_their_work(self):
        asked = []

        def listen(connection):
            for body in frames(connection):
                asked.append(struct.unpack(">QQ", body[:16]))
                connection.sendall(frame(body))

        with Invented(listen) as server:
            code, counts = result(f"frame://127.0.0.1:{server.port}", *QUICK, "--preset",
                                  "spin-b90", "--service-us", "40", "--warmup", "0")
            self.assertEqual(code, FINE)
            self.assertEqual(sorted(number for _, number in asked), list(range(len(asked))))
            self.assertEqual({work for work, _ in asked}, {20000, 220000})
            self.assertEqual(len(asked), counts["sent"])

    def test_large_values_and_multi_gets(self):
        with memcached() as (url, _):
            code, counts = result(url, *QUICK, "--rate", "100", "--keys", "50", "--value-bytes",
                                  "300000", "--mix", "mget=1,set=1", "--multi-get", "8")
            self.assertEqual(code, FINE, counts["trouble"])
            self.check_counts(counts)
            self.assertGreater(counts["bytes_received"], 8 * 300000)

    def test_presets_all_run(self):
        names = re.findall(r"^  ([a-z0-9-]+) +\S.*$",
                           load("--help").stdout.split("\npresets:")[1].split("\nexamples")[0], re.M)
        self.assertGreater(len(names), 20)
        with memcached("-m", "256") as (url, _), Invented(echo) as server:
            for name in names:
                with self.subTest(preset=name):
                    target = f"frame://127.0.0.1:{server.port}" if name.startswith("spin") else url
                    code, counts = result(target, "--preset", name, "--keys", "1000", "--duration",
                                          "0.1", "--warmup", "0", "--rate", "1000",
                                          "--lag-gate-us", "0")
                    self.assertEqual(code, FINE, counts["trouble"])
                    self.check_counts(counts)
                    self.assertEqual(counts["preset"], name)

    def test_closed_loop_sends_exactly_what_was_asked(self):
        with memcached() as (url, _):
            code, counts = result(url, "--closed", "--depth", "16", "--requests", "20011",
                                  "--warmup", "0", "--threads", "3", "-c", "7")
            self.assertEqual(code, FINE)
            self.check_counts(counts, planned=20011)

    def test_reconnects_lose_nothing(self):
        with memcached() as (url, _):
            code, counts = result(url, *QUICK, "--reconnect-every", "10", "-c", "5")
            self.assertEqual(code, FINE, counts["trouble"])
            self.check_counts(counts)
            self.assertGreaterEqual(counts["reconnects"], counts["sent"] // 10 - 5)

    def test_classes_and_deciles_share_all_requests(self):
        with memcached() as (url, _):
            _, counts = result(url, *QUICK, "--preset", "hotconn", "--keys", "5000")
            heavy = counts["connection_classes_us"]["heavy"]["count"]
            light = counts["connection_classes_us"]["light"]["count"]
            self.assertEqual(heavy + light, counts["received"])
            self.assertGreater(heavy, 5 * light)
            self.assertEqual(sum(part["count"] for part in counts["key_rank_deciles_us"]),
                             counts["received"])

    def test_misses_are_counted_not_hidden(self):
        with memcached() as (url, _):
            code, counts = result(url, *QUICK, "--no-fill", "--mix", "get", "--keys", "1000")
            self.assertEqual(code, FINE)
            self.assertEqual(counts["misses"], counts["received"])
            self.assertEqual(counts["hits"], 0)
            _, counts = result(url, *QUICK, "--mix", "get", "--keys", "1000", "--miss-share", "0.5")
            self.assertGreater(counts["misses"], counts["received"] * 0.4)
            self.assertLess(counts["misses"], counts["received"] * 0.6)

    def test_server_numbers_beside_it(self):
        with memcached() as (url, server):
            _, counts = result(url, *QUICK, "--mix", "get", "--warmup", "0", "--server-pid",
                               str(server.pid))
            self.assertGreater(counts["server"]["cpu_us_per_request"], 0)
            self.assertGreater(counts["server"]["switches_voluntary"], 0)
            self.assertEqual(counts["server"]["stats_growth"]["cmd_get"], counts["received"])
            self.assertGreater(counts["cpu_us_per_request"], 0)

    def test_sweep_runs_the_grid(self):
        with memcached() as (url, _):
            code, value = result(url, "--duration", "0.1", "--warmup", "0", "--lag-gate-us", "0",
                                 "--sweep", "500,1k,2000", "--target-us", "1e9")
            self.assertEqual(code, FINE)
            self.assertEqual([run["rate"] for run in value["sweep"]], [500, 1000, 2000])
            self.assertEqual(value["load_at_target"], 2000)


class Streams(unittest.TestCase):
    """Same seed, same requests."""

    def test_hash_is_that_of_the_seed(self):
        with Invented(echo) as server:
            url = f"frame://127.0.0.1:{server.port}"
            hashes = [result(url, *QUICK, "--threads", "2", "--seed", seed)[1]["stream_hash"]
                      for seed in ("7", "7", "8")]
        self.assertEqual(hashes[0], hashes[1])
        self.assertNotEqual(hashes[0], hashes[2])

    def test_closed_loops_are_the_same_however_fast(self):
        hashes = set()
        for pause in (0, 0.0005):
            def slow(connection):
                for body in frames(connection):
                    time.sleep(pause)
                    connection.sendall(frame(body))

            with Invented(slow) as server:
                _, counts = result(f"frame://127.0.0.1:{server.port}", "--closed", "--requests",
                                   "300", "--warmup", "0", "-c", "3", "--preset", "spin-exp")
                hashes.add(counts["stream_hash"])
        self.assertEqual(len(hashes), 1)

    def test_bytes_of_one_connection_are_the_same(self):
        heard = []

        def listen(connection):
            data = heard[-1]
            for body in frames(connection):
                data += body
                connection.sendall(frame(body))

        with Invented(listen) as server:
            for _ in range(2):
                heard.append(bytearray())
                result(f"frame://127.0.0.1:{server.port}", *QUICK, "-c", "1", "--arrivals",
                       "bursty", "--value-bytes", "16-200")
        self.assertGreater(len(heard[0]), 1000)
        self.assertEqual(heard[0], heard[1])


class Truth(unittest.TestCase):
    """A server that lies is caught."""

    def run_frames(self, talk, *words):
        with Invented(talk) as server:
            return result(f"frame://127.0.0.1:{server.port}", *QUICK, "-c", "1", *words)

    def test_one_wrong_byte(self):
        def lie(connection):
            for index, body in enumerate(frames(connection)):
                if index == 50:
                    body = body[:40] + bytes([body[40] ^ 1]) + body[41:]
                connection.sendall(frame(body))

        code, counts = self.run_frames(lie)
        self.assertEqual((code, counts["mismatches"]), (WRONG, 1))

    def test_two_answers_swapped(self):
        def swap(connection):
            held = None
            for index, body in enumerate(frames(connection)):
                if index == 50:
                    held = body
                elif held is not None:
                    connection.sendall(frame(body) + frame(held))
                    held = None
                else:
                    connection.sendall(frame(body))

        code, counts = self.run_frames(swap)
        self.assertEqual((code, counts["reorders"]), (WRONG, 2))

    def test_short_answer(self):
        def cut(connection):
            for index, body in enumerate(frames(connection)):
                connection.sendall(frame(body[:-1] if index == 50 else body))

        code, counts = self.run_frames(cut)
        self.assertEqual((code, counts["short_answers"]), (WRONG, 1))

    def test_value_of_another_writer(self):
        with memcached() as (url, _):
            with socket.socket(socket.AF_UNIX) as other:
                other.connect(url.removeprefix("memcached://"))
                keys = self.keys_of(url)
                key = keys[0]
                other.sendall(b"set " + key + b" 0 0 100\r\n" + b"x" * 100 + b"\r\n")
                self.assertEqual(other.recv(100), b"STORED\r\n")
            code, counts = result(url, *QUICK, "--no-fill", "--keys", "1", "--mix", "get")
            self.assertEqual(code, WRONG)
            self.assertGreater(counts["hits"], 0)
            self.assertGreaterEqual(counts["mismatches"], counts["hits"])

    def keys_of(self, url):
        """The one key a run with --keys 1 asks for, as the server saw it."""
        result(url, *QUICK, "--keys", "1", "--mix", "get")
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(url.removeprefix("memcached://"))
            other.sendall(b"lru_crawler metadump all\r\n")
            data = b""
            while not data.endswith(b"END\r\n"):
                data += other.recv(4096)
        keys = [urllib.parse.unquote_to_bytes(key) for key in re.findall(rb"key=(\S+)", data)]
        self.assertEqual(len(keys), 1)
        self.assertTrue(keys[0].startswith(b"percore-load:"))
        return keys

    def test_error_answers_are_shown(self):
        with memcached() as (url, _):
            done = load(url, *QUICK, "--no-fill", "--value-bytes", "1200000", "--mix", "set",
                        "--rate", "100")
            self.assertEqual(done.returncode, WRONG)
            self.assertIn("SERVER_ERROR object too large for cache", done.stderr)
            self.assertRegex(done.stdout, r"errors \d+")

    def test_bytes_nobody_asked_for(self):
        def chatter(connection):
            for body in frames(connection):
                connection.sendall(frame(body) + b"!")

        code, counts = self.run_frames(chatter)
        self.assertEqual((code, counts["outcome"]), (PARTIAL, "protocol"))


class Trouble(unittest.TestCase):
    """One clear line, a code, and never a hang."""

    def says(self, done, code, pattern):
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertRegex(done.stderr, pattern)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def test_refused(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        for flags in ([], ["--no-fill"]):
            self.says(load(f"memcached://127.0.0.1:{port}", *QUICK, *flags), TROUBLE,
                      "Connection refused")

    def test_no_such_socket_or_name(self):
        self.says(load("redis:///nowhere/at/all", *QUICK), TROUBLE, "No such file")
        self.says(load("redis://name.invalid", *QUICK), TROUBLE, "name.invalid")

    def test_never_accepts(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
            path = os.path.join(folder, "full.sock")
            listener.bind(path)
            listener.listen(1)
            self.says(load(f"memcached://{path}", *QUICK, "--no-fill", "--timeout", "0.3"), TROUBLE,
                      "no answer to")

    def test_reset_in_mid_run(self):
        def reset(connection):
            for index, body in enumerate(frames(connection)):
                if index == 20:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                          struct.pack("ii", 1, 0))
                    connection.close()
                    return
                connection.sendall(frame(body))

        with Invented(reset) as server:
            done = load(f"frame://127.0.0.1:{server.port}", *QUICK, "-c", "1", "--duration", "30",
                        "--warmup", "0")
            self.says(done, PARTIAL, "connection 0: (Connection reset|closed by the server|Broken)")
            self.assertIn("PARTIAL", done.stdout)
            # A reset takes with it what was received and not yet read; nothing may be lost on top.
            counts = {name: int(count) for name, count in
                      re.findall(r"(scheduled|received|unanswered) (\d+)", done.stdout)}
            self.assertLessEqual(counts["received"], 20)
            self.assertEqual(counts["received"] + counts["unanswered"], counts["scheduled"])

    def test_server_that_closes(self):
        def leave(connection):
            for body in frames(connection):
                connection.sendall(frame(body))
                break

        with Invented(leave) as server:
            code, counts = result(f"frame://127.0.0.1:{server.port}", *QUICK, "-c", "2")
            self.assertEqual((code, counts["outcome"]), (PARTIAL, "lost"))

    def test_other_protocol(self):
        with memcached() as (url, _):
            done = load(url.replace("memcached://", "redis://"), *QUICK)
            self.says(done, TROUBLE, "ERROR")
            done = load(url.replace("memcached://", "frame://"), *QUICK)
            self.assertEqual(done.returncode, PARTIAL)

    def test_silent_server_ends_the_run(self):
        def swallow(connection):
            for _ in frames(connection):
                pass

        with Invented(swallow) as server:
            code, counts = result(f"frame://127.0.0.1:{server.port}", *QUICK, "--duration", "60",
                                  "--warmup", "0", "--timeout", "0.5")
            self.assertEqual((code, counts["outcome"]), (PARTIAL, "silent"))
            self.assertEqual(counts["received"], 0)
            self.assertEqual(counts["unanswered"], counts["scheduled"])
            # Left out, they would flatter: each counts with the time it has waited.
            self.assertEqual(counts["response_us"]["count"], counts["unanswered"])

    def test_server_that_is_too_slow(self):
        def slow(connection):
            for body in frames(connection):
                time.sleep(0.01)
                connection.sendall(frame(body))

        with Invented(slow) as server:
            code, counts = result(f"frame://127.0.0.1:{server.port}", *QUICK, "-c", "1",
                                  "--warmup", "0", "--timeout", "0.5")
            self.assertEqual((code, counts["outcome"]), (PARTIAL, "behind"))
            self.assertIn("too slow", counts["trouble"])
            self.assertEqual(counts["received"] + counts["unanswered"], counts["scheduled"])

    def test_rate_beyond_the_generator(self):
        with Invented(echo) as server:
            code, counts = result(f"frame://127.0.0.1:{server.port}", "--rate", "900m",
                                  "--duration", "30", "--warmup", "0", "--timeout", "0.3")
            self.assertEqual(code, PARTIAL)
            self.assertEqual(counts["outcome"], "behind")
            self.assertRegex(counts["trouble"], "behind its schedule|are waiting")

    def test_frozen_server_is_forgiven_and_counted(self):
        with memcached() as (url, server):
            words = [PERCORE, "load", url, "--rate", "1000", "--arrivals", "fixed", "--duration",
                     "2", "--warmup", "0", "--keys", "100", "--lag-gate-us", "0", "--json", "-"]
            with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as run:
                wait_for(lambda: self.gets(url) > 200, "the first requests")
                server.send_signal(signal.SIGSTOP)
                threading.Timer(0.2, server.send_signal, [signal.SIGCONT]).start()
                counts = json.loads(run.communicate(timeout=60)[0])
            self.assertEqual(run.returncode, FINE)
            for name in ("scheduled", "sent", "received"):
                self.assertEqual(counts[name], 1999 + (counts[name] == 2000))
            self.assertGreaterEqual(counts["response_us"]["max"], counts["from_send_us"]["max"])

    def gets(self, url):
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(url.removeprefix("memcached://"))
            other.sendall(b"stats\r\n")
            data = b""
            while not data.endswith(b"END\r\n"):
                data += other.recv(4096)
        return int(re.search(rb"STAT cmd_get (\d+)", data)[1])

    def test_interrupted(self):
        with memcached() as (url, _):
            with subprocess.Popen([PERCORE, "load", url, "--duration", "600", "--warmup", "0",
                                   "--keys", "100", "--lag-gate-us", "0", "--json", "-"],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
                wait_for(lambda: self.gets(url) > 200, "the first requests")
                run.send_signal(signal.SIGINT)
                counts = json.loads(run.communicate(timeout=60)[0])
            self.assertEqual(run.returncode, PARTIAL)
            self.assertEqual(counts["outcome"], "stopped")
            self.assertEqual(counts["received"], counts["sent"])

    def test_own_lag_beyond_the_gate(self):
        with Invented(echo) as server:
            done = load(f"frame://127.0.0.1:{server.port}", "--rate", "500", "--duration", "0.3",
                        "--warmup", "0", "--inject-schedule-us", "20000")
            self.assertEqual(done.returncode, INVALID)
            self.assertIn("INVALID: the generator itself was late", done.stdout)

    def test_more_connections_than_descriptors(self):
        with Invented(echo) as server:
            done = subprocess.run(
                ["bash", "-c", f"ulimit -n 200; exec {PERCORE} load "
                 f"frame://127.0.0.1:{server.port} -c 500"],
                capture_output=True, text=True, check=False, timeout=60)
            self.says(done, TROUBLE, "500 connections need .* descriptors")

    def test_usage(self):
        for words, pattern in (
                ([], "which server"),
                (["http://localhost"], "bad URL"),
                (["memcached://"], "bad address"),
                (["memcached://a:b"], "bad address"),
                (["redis://h", "frame://h"], "one URL"),
                (["redis:///x", "--mix", "cas=1"], "redis has no 'cas'"),
                (["redis:///x", "--mix", "gett=1"], "bad value 'gett=1' for --mix"),
                (["redis:///x", "--preset", "nope"], "no preset 'nope'"),
                (["frame:///x", "--preset", "etc"], "frame has no 'get'"),
                (["redis:///x", "--rate", "fast"], "bad value 'fast' for --rate"),
                (["redis:///x", "--rate", "0"], "bad value '0' for --rate"),
                (["redis:///x", "--sweep", "3,2"], "bad value '3,2' for --sweep"),
                (["redis:///x", "--sweep", "2", "--closed"], "--sweep"),
                (["redis:///x", "--value-bytes", "1-"], "bad value '1-' for --value-bytes"),
                (["redis:///x", "--key-bytes", "300"], "bad value '300' for --key-bytes"),
                (["redis:///x", "--alpha", "-1"], "bad value '-1' for --alpha"),
                (["redis:///x", "--prefix", "a b"], "bad value 'a b' for --prefix"),
                (["redis:///x", "--service-us", "5"], "--service-us"),
                (["redis:///x", "--threads", "5", "-c", "4"], "--threads 5"),
                (["redis:///x", "--poller", "magic"], "no poller 'magic'"),
                (["redis:///x", "--hot-keys", "9", "--keys", "5"], "--hot-keys 9"),
                (["redis:///x", "--no-such-flag"], "unknown flag --no-such-flag")):
            with self.subTest(words=words):
                self.says(load(*words), USAGE, re.escape(pattern))


class Files(unittest.TestCase):
    """What is written for other programs."""

    def test_csv_html_and_json_agree(self):
        with tempfile.TemporaryDirectory() as folder, Invented(echo) as server:
            path = os.path.join(folder, "out")
            done = load(f"frame://127.0.0.1:{server.port}", *QUICK, "--quiet", "--json",
                        path + ".json", "--csv", path + ".csv", "--html", path + ".html")
            self.assertEqual((done.returncode, done.stdout, done.stderr), (FINE, "", ""))
            with open(path + ".json", encoding="utf-8") as file:
                counts = json.load(file)
            with open(path + ".csv", encoding="utf-8") as file:
                rows = [line.split(",") for line in file.read().splitlines()]
            self.assertEqual(rows[0][:4], ["at_s", "length_s", "scheduled", "received"])
            self.assertEqual(sum(int(row[3]) for row in rows[1:]), counts["received"])
            self.assertEqual(sum(row["received"] for row in counts["seconds"]), counts["received"])
            with open(path + ".html", encoding="utf-8") as file:
                page = file.read()
            held = re.search(r'<script type="application/json" id="result">(.*?)</script>', page,
                             re.S)[1]
            self.assertEqual(json.loads(held)["received"], counts["received"])
            self.assertNotRegex(page, r"<(script|link|img)[^>]+(src|href)=", "needs nothing else")

    def test_file_that_cannot_be_written(self):
        with Invented(echo) as server:
            done = load(f"frame://127.0.0.1:{server.port}", *QUICK, "--json", "/nowhere/x")
            self.assertEqual(done.returncode, TROUBLE)
            self.assertIn("/nowhere/x: No such file or directory", done.stderr)

    def test_hdr_log_is_read_by_the_reference(self):
        if shutil.which("java") is None or not os.path.exists(HDR_JAR):
            self.skipTest("Debian's libhdrhistogram-java is not installed")
        with tempfile.TemporaryDirectory() as folder, Invented(echo) as server:
            path = os.path.join(folder, "log")
            _, counts = result(f"frame://127.0.0.1:{server.port}", *QUICK, "--hdr", path)
            for tag in ([], ["-tag", "frame"]):
                done = subprocess.run(["java", "-cp", HDR_JAR, "org.HdrHistogram.HistogramLogProcessor",
                                       "-i", path, "-csv", "-outputValueUnitRatio", "1000", *tag],
                                      capture_output=True, text=True, check=False, timeout=120)
                rows = re.findall(r"^([0-9.]+),([0-9.]+),(\d+),", done.stdout, re.M)
                self.assertTrue(rows, done.stdout + done.stderr)
                digits = 0.011 if tag else 0.0011
                self.assertEqual(int(rows[-1][2]), counts["received"])
                highest = float(rows[-1][0])
                self.assertAlmostEqual(highest, counts["response_us"]["max"],
                                       delta=digits * highest)
                at = {float(fraction): float(value) for value, fraction, _ in rows}
                self.assertAlmostEqual(at[0.5], counts["response_us"]["p50"], delta=digits * at[0.5])


if __name__ == "__main__":
    unittest.main(verbosity=2)
