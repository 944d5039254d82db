#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""cache_flags: every flag does what it says, and what is wrong with one is said in one line.

Goal: memcached's flags work as its users know them. Method: start, look, stop; ports are free ones.
"""
import contextlib
import os
import random
import re
import resource
import signal
import socket
import subprocess
import tempfile
import unittest

from cache_process import CacheProcess, Client, user_flags
from percore_process import wait_until

PERCORE = os.environ["PERCORE"]


def run(*flags):
    return subprocess.run([PERCORE, "cache", *flags], capture_output=True, text=True, timeout=60)


def has_ended(pid):
    """Gone, or a zombie whose parent is in no hurry."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().split()[2] == "Z"
    except OSError:
        return True


class Refusals(unittest.TestCase):
    def refused(self, code, pattern, *flags):
        done = run(*flags)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertRegex(done.stderr, pattern)

    def test_bad_flags_are_named_beside_the_legal_ones(self):
        self.refused(2, r"--nonsense.*legal: .*--port", "--nonsense")
        self.refused(2, r"'x'.*--port.*65535", "-p", "x")
        self.refused(2, r"--port.*65535", "-p", "65536")
        self.refused(2, r"--udp-port.*legal", "-U", "1")
        self.refused(2, r"--ownership.*crew.*owned.*shared", "--ownership", "none")
        self.refused(2, r"--model|model", "--model", "none", *user_flags())
        for flag in ("on", "off"):
            self.refused(2, r"--lend.*shared.*legal: --ownership crew or owned", "--lend", flag,
                         "--ownership", "shared")
            self.refused(2, r"--lend.*shared.*legal: --ownership crew or owned", "--lend", flag,
                         "--model", "thread-pool")
        self.refused(2, r"--lend.*on\|off", "--lend", "maybe")
        for mode in ("owned", "crew"):
            self.refused(2, mode + r".*legal: --ownership shared, or --model per-core", "--ownership",
                         mode, "--model", "thread-pool")
        self.refused(2, r"--max-item-size.*half", "-m", "1", "-I", "1m", *user_flags())
        self.refused(2, r"word 'x'", "x")
        self.refused(2, r"--unix-mask.*octal", "-s", "/x", "-a", "9")

    def test_flags_of_memcached_that_are_not_taken_say_what_to_use(self):
        for flags, words in [(["-f", "1.1"], "slab classes"),
                             (["-n", "48"], "slab classes"), (["-D", ":"], "hotkeys"),
                             (["-R", "20"], "turn"), (["-C"], "cas"), (["-S"], "-Y"), (["-e", "/x"], "outlives"),
                             (["-Z"], "TLS"), (["-N", "2"], "--accept"), (["-B", "ascii"], "auto")]:
            self.refused(2, re.escape(words), *flags)

    def test_words_of_extended_that_are_not_taken(self):
        for words, pattern in [("ext_path=/x:1g", "ext_path.*larger -m"), ("modern,ssl_key=x", "ssl_key.*TLS"),
                               ("sock_cookie_id=1", "sock_cookie_id.*port"), ("foo", "'foo'.*legal: maxconns_fast"),
                               ("modern,,modern", "''.*legal"), ("hashpower", "''.*hashpower.*12 to 32"),
                               ("hashpower=33", "'33'.*12 to 32"), ("tail_repair_time=9", "'9'.*10"),
                               ("hot_max_factor=0", "'0'.*0.01"), ("warm_max_factor=nan", "'nan'"),
                               ("lru_crawler_sleep=2000000", "1000000"), ("hot_lru_pct=80", "1 to 79"),
                               ("idle_timeout=x", "'x'.*idle_timeout"), ("hash_algorithm", "hash_algorithm.*text"),
                               ("x" * 5000, "xxx'")]:
            self.refused(2, pattern, "-p", "0", "-o", words)

    def test_a_file_that_lets_nobody_in(self):
        with tempfile.NamedTemporaryFile("w", suffix=".auth") as file:
            for text in ("", "no colon\n", ":password\n", "a b:password\n", "x" * 70000):
                file.seek(0)
                file.truncate()
                file.write(text)
                file.flush()
                self.refused(2, "user:password", "-Y", file.name, "-p", "0", *user_flags())
        self.refused(1, "cannot read", "-Y", file.name, "-p", "0", *user_flags())

    @unittest.skipUnless(os.geteuid() == 0, "only root is told to say whom to become")
    def test_root_must_say_whom_to_become(self):
        self.refused(2, r"root.*-u", "-p", "0")
        self.refused(1, r"no-such-user", "-p", "0", "-u", "no-such-user")

    def test_a_port_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.refused(1, r"127\.0\.0\.1", "-p", str(taken.getsockname()[1]), *user_flags())

    def test_an_address_that_is_none_of_ours(self):
        self.refused(1, r"192\.0\.2\.1", "-p", "0", "-l", "192.0.2.1", *user_flags())


class Starts(unittest.TestCase):
    def test_help_and_version(self):
        for flag in ("-h", "--help"):
            self.assertRegex(run(flag).stdout, r"(?s)-p, --port.*--ownership")
        for flag in ("-V", "--version"):
            self.assertRegex(run(flag).stdout, r"^percore \d")

    def test_the_first_lines_say_who_where_and_how(self):
        with CacheProcess("-m", "32", "-t", "2", "--affinity", "0") as cache:
            text = "\n".join(cache.lines)
            for pattern in (r"^percore cache \d", r"(?m)^cores ", r"(?m)^poller ",
                            r"(?m)^listen +127\.0\.0\.1:\d+", r"(?m)^memory .*32 MiB", r"(?m)^talk .*nc",
                            r"(?m)^stop "):
                self.assertRegex(text, pattern)
            talk = re.search(r"(?m)^talk +(.*)", text)[1]
            said = subprocess.run(["sh", "-c", talk], capture_output=True, text=True, timeout=60)
            self.assertRegex(said.stdout, r"(?s)STAT pid.*END")
            self.assertEqual(cache.stop(), 0)

    def test_several_addresses(self):
        with CacheProcess(listen=("-p", "0", "-l", "127.0.0.1,127.0.0.2", "-l", "127.0.0.3:0")) as cache:
            self.assertEqual(len(cache.listens), 3)
            for listen in cache.listens:
                host, _, port = listen.rpartition(":")
                with socket.create_connection((host, int(port))) as peer:
                    peer.sendall(b"version\r\n")
                    self.assertEqual(peer.recv(100)[:8], b"VERSION ")
            with Client(cache) as client:
                self.assertEqual(client.stats(b"settings")["inter"], "127.0.0.1,127.0.0.2,127.0.0.3:0")

    def test_unix_socket_and_its_mode(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            path = os.path.join(folder, "socket")
            with CacheProcess(listen=("-s", path, "-a", "0666")) as cache, Client(cache) as client:
                client.expect(b"set a 0 0 1\r\nx\r\n", b"STORED\r\n")
                self.assertEqual(os.stat(path).st_mode & 0o777, 0o666)

    def test_daemon_and_pid_file(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            path = os.path.join(folder, "pid")
            done = run("-d", "-P", path, "-p", "0", *user_flags())
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(path, encoding="ascii") as file:
                pid = int(file.read())
            host, port = re.search(r"listen +(\S+):(\d+)", done.stdout).groups()
            with socket.create_connection((host, int(port))) as peer:
                peer.sendall(b"version\r\n")
                self.assertEqual(peer.recv(100)[:8], b"VERSION ")
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: has_ended(pid))
            self.assertFalse(os.path.exists(path))

    def test_a_pid_file_that_cannot_be_written(self):
        """The start script of SysV has written it as root already."""
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as errors:
            os.chmod(folder, 0o755)
            path = os.path.join(folder, "none", "pid")
            with CacheProcess("-P", path, errors=errors) as cache, Client(cache) as client:
                client.expect(b"mn\r\n", b"MN\r\n")
            errors.seek(0)
            self.assertIn(f"percore cache: there is no pid file: {path}: No such file or directory\n", errors.read())

    def test_the_pid_file_of_who_serves_stays(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            path = os.path.join(folder, "pid")
            with CacheProcess("-P", path) as cache:
                host, port = cache.address
                again = run("-P", path, "-l", host, "-p", str(port), *user_flags())
                self.assertEqual(again.returncode, 1)
                with open(path, encoding="ascii") as file:
                    self.assertEqual(int(file.read()), cache.process.pid)
                self.assertEqual(os.listdir(folder), ["pid"])
            self.assertEqual(os.listdir(folder), [])

    def test_daemon_passes_trouble_on(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            done = run("-d", "-p", str(taken.getsockname()[1]), *user_flags())
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, r"127\.0\.0\.1")

    @unittest.skipUnless(os.geteuid() == 0, "only root has rights to give up")
    def test_rights_are_given_up(self):
        with CacheProcess() as cache:
            self.assertNotEqual(os.stat(f"/proc/{cache.process.pid}").st_uid, 0)

    def test_shutdown_when_allowed(self):
        with CacheProcess("-A") as cache:
            with Client(cache) as client:
                client.send(b"shutdown\r\n")
                self.assertTrue(client.closed())
            self.assertEqual(cache.process.wait(60), 0)

    def test_flush_all_may_be_refused(self):
        with CacheProcess("-F") as cache, Client(cache) as client:
            self.assertEqual(client.ask(b"flush_all\r\n"), b"CLIENT_ERROR flush_all not allowed")

    def test_dumps_may_be_refused(self):
        with CacheProcess("-X") as cache, Client(cache) as client:
            self.assertEqual(client.ask(b"lru_crawler metadump all\r\n"), b"ERROR metadump not allowed")
            self.assertEqual(client.ask(b"lru_crawler mgdump all\r\n"), b"ERROR key dump not allowed")
            self.assertEqual(client.stats(b"settings")["dump_enabled"], "no")

    def test_only_who_knows_a_line_is_let_in(self):
        stranger = b"CLIENT_ERROR unauthenticated\r\n"
        with tempfile.NamedTemporaryFile("w", suffix=".auth") as file:
            file.write("foo:bar\nbaz:two words")
            file.flush()
            for flags in ["--cores", "2", "--affinity", "0"], ["--model", "thread-per-connection"]:
                with self.subTest(flags=flags), CacheProcess("-Y", file.name, *flags) as cache:
                    with Client(cache) as client:
                        client.expect(b"get a\r\nversion\r\nmg a v\r\nquit\r\n", stranger * 4)
                        client.expect(b"get " + b"k " * 200 + b"\r\nadd a 0 0 1\r\nx\r\nmn\r\n", stranger * 3)
                        client.expect(b"set x 0 0 2\r\nhi\r\n", b"CLIENT_ERROR bad authentication token format\r\n")
                        client.expect(b"set x 0 0 20000\r\n" + b"x" * 20000 + b"\r\n",
                                      b"CLIENT_ERROR auth token too long\r\n")
                        failure = b"CLIENT_ERROR authentication failure\r\n"
                        for said in (b"foo ba1", b"foo ba", b"foo barr", b"foo two words", b" "):
                            client.expect(b"set x 0 0 %d noreply\r\n%s\r\n" % (len(said), said), failure)
                        client.expect(b"set x 0 0 7\r\nfoo bar\r\nget x\r\n", b"STORED\r\nEND\r\n")
                        stats = client.stats()
                        self.assertEqual((stats["auth_cmds"], stats["auth_errors"]), ("6", "5"))
                        self.assertEqual(client.stats(b"settings")["auth_enabled_ascii"], "yes")
                    with Client(cache) as client:
                        client.expect(b"get x\r\n", stranger)
                        client.expect(b"set y 0 0 13\r\nbaz two words\r\nmn\r\n", b"STORED\r\nMN\r\n")
                    with Client(cache) as client:
                        client.send(b"\x80\x0a" + bytes(22))
                        self.assertTrue(client.closed())

    def test_words_of_extended_that_are_kept(self):
        words = ("no_lru_crawler,lru_crawler_sleep=7,lru_crawler_tocrawl=8,no_lru_maintainer,hot_lru_pct=30,"
                 "warm_lru_pct=31,hot_max_factor=0.5,warm_max_factor=3,temporary_ttl=9")
        more = "idle_timeout=99,slab_automove=2,slab_automove_ratio=0.6,slab_automove_window=40,modern"
        with CacheProcess("-o", words, "--extended", more) as cache, Client(cache) as client:
            told = client.stats(b"settings")
            for name, value in [("lru_crawler", "no"), ("lru_crawler_sleep", "7"), ("lru_crawler_tocrawl", "8"),
                                ("lru_segmented", "no"), ("hot_lru_pct", "30"), ("warm_lru_pct", "31"),
                                ("hot_max_factor", "0.50"), ("warm_max_factor", "3.00"), ("temp_lru", "yes"),
                                ("temporary_ttl", "9"), ("idle_timeout", "99"), ("slab_automove", "2"),
                                ("slab_automove_ratio", "0.60"), ("slab_automove_window", "40")]:
                self.assertEqual((name, told[name]), (name, value))
            self.assertEqual(client.ask(b"lru_crawler metadump all\r\n"), b"CLIENT_ERROR lru crawler disabled")

    def test_words_of_extended_that_change_nothing_are_said(self):
        with tempfile.TemporaryFile("w+") as errors:
            with CacheProcess("-o", "modern,hashpower=21,maxconns_fast", "-o", "no_hashexpand", errors=errors):
                errors.seek(0)
                self.assertEqual(re.findall(r"--extended (\S+) is without effect: \S", errors.read()),
                                 ["hashpower", "no_hashexpand"])

    def test_as_many_connections_as_asked_for(self):
        def allow_few():  # at first: systemd gives a service 1024 of the half million it may take
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        with CacheProcess("-c", "300", before=allow_few) as cache, contextlib.ExitStack() as clients:
            for _ in range(200):
                clients.enter_context(Client(cache)).expect(b"mn\r\n", b"MN\r\n")

    def test_more_connections_than_the_system_allows(self):
        def allow_few():
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        with CacheProcess("-c", "64", before=allow_few, as_nobody=True) as cache, Client(cache) as client:
            client.expect(b"mn\r\n", b"MN\r\n")
        with tempfile.TemporaryFile("w+") as errors:
            cache = CacheProcess("-c", "65", errors=errors, before=allow_few, as_nobody=True)
            with self.assertRaisesRegex(AssertionError, "ended with 1"):
                cache.__enter__()
            errors.seek(0)
            self.assertRegex(errors.read(), "^percore cache: --conn-limit 65 needs as many open files, the system "
                             "allows 64 .*\n$")

    def test_memory_is_locked(self):
        with tempfile.TemporaryFile("w+") as errors:
            with CacheProcess("-k", "-m", "32", errors=errors) as cache:
                with open(f"/proc/{cache.process.pid}/status", encoding="ascii") as file:
                    locked = int(re.search(r"VmLck:\s+(\d+)", file.read())[1])
                errors.seek(0)
                said = errors.read()
                if locked == 0: # the machine allows this test too little
                    self.assertRegex(said, "--lock-memory is without effect: .*RLIMIT_MEMLOCK is")
                else:
                    self.assertEqual(said, "")

    def test_memory_that_may_not_be_locked_is_said(self):
        def allow_little():
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
        with tempfile.TemporaryFile("w+") as errors:
            # Without rights before it starts, or it would raise the limit.
            with CacheProcess("-k", errors=errors, before=allow_little, as_nobody=True) as cache, \
                    Client(cache) as client:
                client.expect(b"set a 0 0 1\r\nx\r\n", b"STORED\r\n")
                errors.seek(0)
                self.assertRegex(errors.read(), "^percore cache: --lock-memory is without effect: .*"
                                 "RLIMIT_MEMLOCK is 64 KiB and about 131072 are needed.*LimitMEMLOCK.*\n$")

    def test_full_memory_refuses(self):
        for flags in ["--cores", "1"], ["--cores", "2", "--affinity", "0"], ["--model", "thread-per-connection"]:
            for size in 100, 3000, 10000, 200000:
                with self.subTest(flags=flags, size=size), CacheProcess("-M", "-m", "8", *flags) as cache, \
                        Client(cache) as client:
                    self.fill_and_look(client, size)

    def fill_and_look(self, client, size):
        full = b"SERVER_ERROR out of memory storing object"
        value = b"v" * size
        stored = set()
        for number in range(8 << 20):
            said = client.ask(b"set k%d 0 0 %d\r\n%s\r\n" % (number, size, value))
            if said == full:
                break
            self.assertEqual(said, b"STORED")
            stored.add(number)
        self.assertGreater(len(stored) * size, 4 << 20)
        for number in random.Random(1).sample(sorted(stored), min(len(stored), 50)):
            client.expect(b"get k%d\r\n" % number, b"VALUE k%d 0 %d\r\n%s\r\nEND\r\n" % (number, size, value))
        told = client.stats()
        self.assertEqual((told["evictions"], int(told["curr_items"])), ("0", len(stored)))
        self.assertEqual(client.stats(b"settings")["evictions"], "off")
        # Something is still full: a set that is refused takes away the old value, an add changes nothing.
        for number in sorted(stored):
            said = client.ask(b"set k%d 0 0 %d\r\n%s\r\n" % (number, size, value))
            self.assertEqual(client.ask(b"mn\r\n"), b"MN")
            client.expect(b"mg k%d s\r\n" % number, b"EN\r\n" if said == full else b"HD s%d\r\n" % size)
            if said == full:
                break
        client.expect(b"flush_all\r\n", b"OK\r\n")
        for number in range(len(stored) // 2):
            client.expect(b"set n%d 0 0 %d\r\n%s\r\n" % (number, size, value), b"STORED\r\n")

    def test_huge_pages(self):
        for flags, told in [([], "auto"), (["-L"], "auto"), (["--huge-pages=off"], "off"), (["--huge-pages=auto"], "auto")]:
            with CacheProcess("-m", "300", *flags) as cache, Client(cache) as client:
                client.expect(b"set a 0 0 1\r\nx\r\n", b"STORED\r\n")
                self.assertEqual(client.stats(b"settings")["huge_pages"], told)
                # The kernel's word for the advice, where it knows huge pages at all.
                if os.path.exists("/sys/kernel/mm/transparent_hugepage"):
                    self.assertIn("hg" if told == "auto" else "nh", self.flags_of_segments(cache))

    def flags_of_segments(self, cache):
        """What the kernel says of the mapping that cache_memlimit may grow into: 16 times -m 300, less a little."""
        found, size = [], 0
        with open(f"/proc/{cache.process.pid}/smaps", encoding="ascii") as file:
            for line in file:
                words = line.split()
                if words[0] == "Size:":
                    size = int(words[1]) >> 10
                if words[0] == "VmFlags:" and 4400 < size < 4900:
                    found += words[1:]
        return found

    def test_reserved_pages_or_a_line(self):
        folder = "/sys/kernel/mm/hugepages/hugepages-2048kB"
        if not os.path.exists(folder):
            self.skipTest("the machine has no pages of 2 MiB")
        with open(os.path.join(folder, "free_hugepages"), encoding="ascii") as file:
            free = int(file.read())
        if free >= 40:
            with CacheProcess("-m", "64", "--huge-pages=on") as cache, Client(cache) as client:
                client.expect(b"set a 0 0 1\r\nx\r\n", b"STORED\r\n")
        megabytes = str(max(64, 2 * free + 64))
        done = run("-p", "0", "-m", megabytes, "--huge-pages=on", *user_flags())
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertRegex(done.stderr, r"^percore cache: no store of \d+ MiB in huge pages: \d+ of 2 MiB are needed, "
                                      r"\d+ are free \(sysctl vm.nr_hugepages.*\n$")

    def test_item_size(self):
        with CacheProcess("-I", "2k") as cache, Client(cache) as client:
            client.expect(b"set a 0 0 2048\r\n" + b"x" * 2048 + b"\r\n", b"STORED\r\n")
            client.expect(b"set a 0 0 2049\r\n" + b"x" * 2049 + b"\r\n",
                          b"SERVER_ERROR object too large for cache\r\n")

    def test_signals_end_it(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            with CacheProcess() as cache, Client(cache) as client:
                client.expect(b"set a 0 0 1\r\nx\r\n", b"STORED\r\n")
                self.assertEqual(cache.stop(number), 0)
                self.assertTrue(client.closed())


if __name__ == "__main__":
    unittest.main(verbosity=2)
