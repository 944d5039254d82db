# SPDX-License-Identifier: Apache-2.0
"""
Goal     `percore echo` serves frames under every model, and bad input and bad days end as promised.
Method   A server of its own for every case, on a free port, talked to over real sockets; counters
         come from SIGUSR2. Nothing sleeps to wait: conditions are polled until they hold.
"""
import contextlib
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from echo_process import EchoProcess, Peer, frame, refused
from percore_process import SECONDS, sanitizer, wait_until

SANITIZER = sanitizer()
MODELS = ("per-core", "thread-pool", "thread-per-connection")
CAP = 1 << 20


def fill(deaf, meanwhile=lambda: None):
    """Send frames and read nothing until all buffers are full: for two seconds nothing is taken."""
    deaf.socket.settimeout(0)
    block = memoryview(frame(b"d" * 60000) * 20)
    sent, taken_at = 0, time.monotonic()
    while time.monotonic() - taken_at < 2:
        try:
            sent += deaf.socket.send(block[sent % len(block):])
            taken_at = time.monotonic()
        except BlockingIOError:
            meanwhile()
        if sent > 200 << 20:
            raise AssertionError("a peer that never reads was read from without end")


class Models(unittest.TestCase):
    """What holds under every model."""

    @contextlib.contextmanager
    def echo(self, model, *flags, **settings):
        cores = () if model == "thread-per-connection" else ("--cores", "2")
        with self.subTest(model), EchoProcess("--model", model, *cores, *flags,
                                              **settings) as echo:
            yield echo

    def test_every_size_comes_back(self):
        sizes = [0, 1, 3, 4, 5, 255, 2048, 4096, 16320, 16321, 65536, 300000, CAP - 1, CAP]
        source = random.Random(7)
        for model in MODELS:
            with self.echo(model) as echo:
                with Peer(echo) as peer:
                    for size in sizes:
                        body = source.randbytes(size)
                        self.assertEqual(peer.ask(body), body)

    def test_a_frame_in_bytes_of_one_comes_back(self):
        for model in MODELS:
            with self.echo(model) as echo:
                with Peer(echo) as slow, Peer(echo) as other:
                    slow.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    for byte in frame(b"slowly" * 5):
                        slow.send(bytes([byte]))
                        self.assertEqual(other.ask(b"x"), b"x")
                    self.assertEqual(slow.body(), b"slowly" * 5)

    def test_over_the_cap_earlier_replies_leave_and_nobody_else_notices(self):
        for model in MODELS:
            with self.echo(model) as echo:
                with Peer(echo) as other, Peer(echo) as peer:
                    self.assertEqual(other.ask(b"before"), b"before")
                    peer.send(frame(b"one") + frame(b"two") + struct.pack(">I", CAP + 1) + b"x" * 999)
                    self.assertEqual(peer.rest(), frame(b"one") + frame(b"two"))
                    self.assertEqual(other.ask(b"after"), b"after")
                self.assertEqual(echo.count("cap_frame"), 1)
                self.assertEqual(len([line for line in echo.said if "oversize" in line]), 1)

    def test_a_small_cap_holds_for_frames_that_come_whole(self):
        for model in MODELS:
            with self.echo(model, "--body-bytes", "100") as echo:
                with Peer(echo) as peer:
                    self.assertEqual(peer.ask(b"y" * 100), b"y" * 100)
                    peer.send(frame(b"y" * 101))
                    self.assertEqual(peer.rest(), b"")
                self.assertEqual(echo.count("cap_frame"), 1)

    def test_a_half_closed_peer_gets_all_its_answers(self):
        body = bytes(range(256)) * 40
        for model in MODELS:
            with self.echo(model) as echo:
                with Peer(echo) as peer:
                    sender = threading.Thread(target=lambda: (
                        peer.send(frame(body) * 300), peer.socket.shutdown(socket.SHUT_WR)))
                    sender.start()
                    received = peer.rest()
                    sender.join()
                    self.assertEqual(len(received), 300 * (4 + len(body)))
                    self.assertEqual(received, frame(body) * 300)

    def test_a_reset_in_mid_reply_hurts_nobody(self):
        for model in MODELS:
            with self.echo(model) as echo:
                with Peer(echo) as other:
                    for _ in range(20):
                        peer = Peer(echo)
                        peer.send(frame(b"z" * 100000) * 5)
                        peer.exactly(1000)
                        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                               struct.pack("ii", 1, 0))
                        peer.socket.close()
                    self.assertEqual(other.ask(b"still here"), b"still here")
                    wait_until(lambda: echo.count("closed") == 20)
                    self.assertGreater(echo.count("resets"), 0)

    def test_a_peer_that_never_reads_is_not_read_from(self):
        for model in MODELS:
            with self.echo(model) as echo:
                with Peer(echo) as deaf, Peer(echo) as other:
                    fill(deaf, lambda other=other: self.assertEqual(other.ask(b"quick"), b"quick"))
                    if SANITIZER is None:
                        self.assertLess(echo.resident_bytes(), 100 << 20)
                    self.assertEqual(other.ask(b"quick"), b"quick")

    def test_a_peer_that_never_reads_is_closed_in_the_end(self):
        for model in MODELS:
            with self.echo(model, "--send-seconds", "1") as echo:
                with Peer(echo) as deaf, Peer(echo) as other:
                    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                        fill(deaf, lambda other=other: self.assertEqual(other.ask(b"quick"), b"quick"))
                    wait_until(lambda: echo.count("timeouts_send") == 1)
                    wait_until(lambda: echo.count("closed") == 1)
                    # It has done nothing for longer than that: who owes nothing may be silent.
                    self.assertEqual(other.ask(b"quick"), b"quick")

    def test_a_deep_pipeline_is_answered_in_bounded_memory_beside_others(self):
        count, batch = (50000 if SANITIZER else 1000000), 10000
        for model in MODELS:
            with self.echo(model) as echo:
                with Peer(echo) as deep, Peer(echo) as other:
                    def send():
                        for first in range(0, count, batch):
                            deep.send(b"".join(struct.pack(">IQ", 8, number)
                                               for number in range(first, first + batch)))
                    sender = threading.Thread(target=send)
                    sender.start()
                    largest = 0
                    for first in range(0, count, batch):
                        expected = b"".join(struct.pack(">IQ", 8, number)
                                            for number in range(first, first + batch))
                        self.assertEqual(deep.exactly(len(expected)), expected)
                        self.assertEqual(other.ask(b"between"), b"between")
                        largest = max(largest, echo.resident_bytes())
                    sender.join()
                    if SANITIZER is None:
                        self.assertLess(largest, 100 << 20)
                    self.assertEqual(echo.count("requests"), count + count // batch)

    def test_idle_connections_are_closed_and_busy_ones_are_not(self):
        for model in MODELS:
            with self.echo(model, "--idle-seconds", "1") as echo:
                with Peer(echo) as idle, Peer(echo) as begun, Peer(echo) as busy:
                    begun.send(b"\0\0")
                    ended = threading.Event()

                    def wait(peer=idle):
                        self.assertEqual(peer.rest(), b"")
                        ended.set()
                    waiter = threading.Thread(target=wait)
                    waiter.start()
                    while not ended.wait(0.05):
                        self.assertEqual(busy.ask(b"tick"), b"tick")
                    waiter.join()
                    self.assertEqual(begun.rest(), b"")
                    wait_until(lambda: echo.count("timeouts_idle") >= 2)

    def test_a_drain_answers_what_was_received(self):
        for with_signal in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            for model in MODELS:
                with self.echo(model) as echo:
                    with Peer(echo) as peer, Peer(echo) as idle:
                        self.assertEqual(idle.ask(b"here"), b"here")
                        peer.send(frame(b"q" * 50000) * 40)
                        peer.exactly(4)
                        code = []
                        waiter = threading.Thread(
                            target=lambda: code.append(echo.stop(with_signal)))
                        waiter.start()
                        received = peer.rest()
                        waiter.join()
                        self.assertEqual(code, [0])
                        # What the kernel had received is answered, and no reply is cut in two.
                        self.assertEqual((4 + len(received)) % 50004, 0)
                        self.assertEqual(idle.rest(), b"")

    def test_a_signal_right_after_the_start_lines_is_taken(self):
        for model in MODELS:
            for _ in range(5):
                with self.echo(model) as echo:
                    echo.process.send_signal(signal.SIGUSR2)
                    self.assertEqual(echo.stop(), 0)

    def test_a_drain_cuts_who_is_stuck_and_says_so(self):
        for model in MODELS:
            with self.echo(model, "--drain-seconds", "1", "--body-bytes", "16m") as echo:
                with Peer(echo) as stuck:
                    # One reply that no socket buffers hold, and a peer that reads its head only.
                    stuck.socket.sendall(frame(b"d" * (16 << 20)))
                    self.assertEqual(len(stuck.socket.recv(4)), 4)
                    self.assertEqual(echo.stop(), 3)
                    self.assertEqual(len([line for line in echo.said if "cut" in line]), 1)

    def test_a_second_signal_cuts_at_once(self):
        for model in MODELS:
            with self.echo(model, "--drain-seconds", "1000", "--body-bytes", "16m") as echo:
                with Peer(echo) as stuck:
                    stuck.socket.sendall(frame(b"d" * (16 << 20)))
                    self.assertEqual(len(stuck.socket.recv(4)), 4)
                    echo.process.send_signal(signal.SIGTERM)
                    wait_until(lambda: any("drain" in line for line in echo.said))
                    self.assertEqual(echo.stop(), 3)

    def test_one_core_is_one_thread_and_takes_its_signals(self):
        with EchoProcess("--cores", "1") as echo, Peer(echo) as peer:
            self.assertEqual(peer.ask(b"one"), b"one")
            self.assertEqual(len(os.listdir(f"/proc/{echo.process.pid}/task")), 1)
            self.assertEqual(echo.count("requests"), 1)  # by SIGUSR2
            peer.send(frame(b"late"))
            self.assertEqual(echo.stop(), 0)
            self.assertEqual(peer.rest(), frame(b"late"))

    def test_connections_beyond_the_cap_are_refused_and_counted(self):
        for model in MODELS:
            with self.echo(model, "--connections", "4") as echo:
                peers = [Peer(echo) for _ in range(4)]
                for peer in peers:
                    self.assertEqual(peer.ask(b"in"), b"in")
                with Peer(echo) as fifth:
                    self.assertEqual(fifth.rest(), b"")
                self.assertEqual(echo.count("cap_connections"), 1)
                peers.pop().socket.close()
                wait_until(lambda: echo.count("closed") >= 1)
                with Peer(echo) as again:
                    self.assertEqual(again.ask(b"room"), b"room")
                for peer in peers:
                    peer.socket.close()

    def test_out_of_descriptors_it_waits_and_serves_later(self):
        for model in MODELS:
            with self.echo(model, "--connections", "1000", files=48) as echo:
                peers = [Peer(echo) for _ in range(60)]
                wait_until(lambda: echo.count("accept_pauses") > 0)
                before, since = echo.cpu_seconds(), time.monotonic()
                self.assertEqual(peers[0].ask(b"open"), b"open")
                # It does not spin: while all wait it looks again a few times a second.
                wait_until(lambda: time.monotonic() - since > 1)
                used = echo.cpu_seconds() - before
                self.assertLess(used, 0.5 * (time.monotonic() - since))
                for peer in peers[:30]:
                    peer.socket.close()
                for peer in peers[30:]:
                    self.assertEqual(peer.ask(b"later"), b"later")
                    peer.socket.close()
                self.assertEqual(echo.stop(), 0)

    def test_work_spends_the_cpu_it_is_asked_for(self):
        for model in MODELS:
            with self.echo(model, "--work") as echo:
                with Peer(echo) as peer:
                    before = echo.cpu_seconds()
                    for number in range(10):
                        body = struct.pack(">QQ", 50_000_000, number) + b"rest"
                        self.assertEqual(peer.ask(body), body)
                    self.assertGreaterEqual(echo.cpu_seconds() - before, 0.45)
                    self.assertEqual(peer.ask(b"short"), b"short")


class Addresses(unittest.TestCase):
    def test_one_port_serves_both_families(self):
        with EchoProcess("--cores", "2", listen=("--port", "0")) as echo:
            for host in ("127.0.0.1", "::1"):
                with Peer(echo, host) as peer:
                    self.assertEqual(peer.ask(host.encode()), host.encode())

    def test_a_unix_socket_is_private_survives_a_crash_and_goes_with_its_server(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "echo.sock")
            listen = ("--listen", "unix:" + path)
            with EchoProcess("--cores", "2", listen=listen) as echo:
                self.assertEqual(os.stat(path).st_mode & 0o777, 0o700)
                with Peer(echo) as peer:
                    self.assertEqual(peer.ask(b"local"), b"local")
                # A second one must not take it from the first.
                code, lines = refused(*listen)
                self.assertEqual((code, len(lines)), (1, 1))
                with Peer(echo) as peer:
                    self.assertEqual(peer.ask(b"mine"), b"mine")
                self.assertEqual(echo.stop(), 0)
            self.assertFalse(os.path.exists(path))
            stale = socket.socket(socket.AF_UNIX)
            stale.bind(path)
            stale.close()
            with EchoProcess(listen=listen) as echo, Peer(echo) as peer:
                self.assertEqual(peer.ask(b"again"), b"again")
            with open(path, "w", encoding="ascii") as file:
                file.write("precious")
            code, lines = refused(*listen)
            self.assertEqual((code, len(lines)), (1, 1))
            with open(path, encoding="ascii") as file:
                self.assertEqual(file.read(), "precious")

    def test_several_addresses_serve_at_once(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "echo.sock")
            with EchoProcess("--cores", "2", listen=("--listen", "127.0.0.1:0", "--listen",
                                                     "unix:" + path)) as echo:
                self.assertEqual(len(echo.listens), 2)
                local = socket.socket(socket.AF_UNIX)
                local.settimeout(SECONDS)
                local.connect(path)
                local.sendall(frame(b"both"))
                self.assertEqual(local.recv(100), frame(b"both"))
                local.close()
                with Peer(echo) as peer:
                    self.assertEqual(peer.ask(b"both"), b"both")

    def test_a_port_that_is_taken_is_one_line(self):
        for cores in ("1", "2"):
            with EchoProcess("--cores", cores) as echo:
                code, lines = refused("--host", "127.0.0.1", "--port", str(echo.address[1]),
                                      "--cores", cores)
                self.assertEqual((code, len(lines)), (1, 1))
                self.assertIn("taken", lines[0])

    def test_an_address_that_is_not_here_is_one_line(self):
        code, lines = refused("--host", "192.0.2.1", "--port", "0")
        self.assertEqual((code, len(lines)), (1, 1))
        self.assertIn("192.0.2.1", lines[0])

    def test_no_permission_is_one_line(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o555)
            command = [os.environ["PERCORE"], "echo", "--listen", f"unix:{folder}/echo.sock"]
            user = {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, timeout=SECONDS, check=False, **user)
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (1, 1))
            self.assertIn("permission", done.stderr)


class Flags(unittest.TestCase):
    def test_what_is_unknown_is_one_line_that_names_the_legal(self):
        for flags, words in (
                (("--modle", "x"), ("modle",)),
                (("--model", "fibers"), ("fibers", "per-core", "thread-pool",
                                         "thread-per-connection")),
                (("--poller", "kqueue"), ("kqueue", "epoll")),
                (("--accept", "fair"), ("fair", "balanced", "hash")),
                (("--cores", "0"), ("0", "1")),
                (("--cores", "many"), ("many",)),
                (("--port", "65536"), ("65536", "65535")),
                (("--body-bytes", "1q"), ("1q",)),
                (("--affinity", "2"), ("2",)),
                (("127.0.0.1", "0", "1", "0", "extra"), ("extra",)),
                (("127.0.0.1", "port"), ("port",))):
            with self.subTest(flags):
                code, lines = refused(*flags)
                self.assertEqual((code, len(lines)), (2, 1), lines)
                for word in words:
                    self.assertIn(word, lines[0])

    def test_words_say_what_flags_say(self):
        with EchoProcess(listen=("127.0.0.1", "0", "2", "0")) as echo, Peer(echo) as peer:
            self.assertEqual(peer.ask(b"words"), b"words")
            self.assertTrue(any(line.startswith("cores    2 cores") for line in echo.lines))


class Balance(unittest.TestCase):
    def settle(self, echo, core_count, total):
        wait_until(lambda: sum(echo.open_each(core_count)) == total)
        return echo.open_each(core_count)

    def test_64_connections_are_even_also_after_half_have_come_back(self):
        for core_count in (2, 4, 16):
            with self.subTest(core_count), EchoProcess("--cores", str(core_count), "--affinity",
                                                       "0") as echo:
                mean = 64 / core_count
                peers = [Peer(echo) for _ in range(64)]
                each = self.settle(echo, core_count, 64)
                self.assertLessEqual(max(each) / mean, 1.10, each)
                random.Random(core_count).shuffle(peers)
                for peer in peers[:32]:
                    peer.socket.close()
                self.settle(echo, core_count, 32)
                peers = peers[32:] + [Peer(echo) for _ in range(32)]
                each = self.settle(echo, core_count, 64)
                self.assertLessEqual(max(each) / mean, 1.10, each)
                for peer in peers:
                    self.assertEqual(peer.ask(b"even"), b"even")
                    peer.socket.close()


if __name__ == "__main__":
    unittest.main(verbosity=2 if len(sys.argv) > 1 else 1)
