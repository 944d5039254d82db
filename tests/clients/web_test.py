#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""web: sites that keep their pages, sessions and counters in memcached, moved to percore.

Goal: whoever runs a site changes nothing but the process. Method: each site of the folder `sites` is
visited alike on Debian's memcached and on percore, which Debian's own start script starts from Debian's
own memcached.conf, on the same port. Pages and headers are the same to the byte, so are the keys kept and
the servers' counts of what was asked and found. In between the site stays up while one server takes the
other's place. Then the monitors of operators look at both. What is not installed is skipped by name.
"""
import http.client
import http.cookies
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))

from percore_process import wait_until  # noqa: E402

CONF = "/usr/share/memcached/memcached.conf.default"
WRAPPER = "/usr/share/memcached/scripts/systemd-memcached-wrapper"
CHECK = "/usr/lib/nagios/plugins/check_memcached"
MUNIN = "/usr/share/munin/plugins/memcached_"
SKIPPED = 77
ANSWER_SECONDS = 60
HEADERS_OF_THE_MOMENT = {"date", "expires", "set-cookie"}
# What docs/compatibility.md calls the same, and neither a clock nor flush_all has a part in.
COUNTS = ("cmd_get", "cmd_set", "cmd_touch", "cmd_flush", "get_hits", "get_misses", "delete_hits", "delete_misses",
          "incr_hits", "incr_misses", "decr_hits", "decr_misses", "cas_hits", "cas_misses", "cas_badval", "touch_hits",
          "touch_misses", "evictions", "limit_maxbytes", "max_connections")

# memcached counts its listening socket as a connection; bytes are those of its own answers and layout.
MOVING_VALUES = re.compile(r"memcache_(total_connections|curr_connections|bytes_\w+)\.value")


class Service:
    """What `systemctl start memcached` does, with this program as /usr/bin/memcached."""

    def __init__(self, program, port, folder):
        self.port, self.pid_path = port, os.path.join(folder, "pid")
        binary = os.path.join(folder, "memcached")
        if not os.path.lexists(binary):
            os.symlink(program, binary)
        conf = os.path.join(folder, "memcached.conf")
        with open(CONF, encoding="utf-8") as default, open(conf, "w", encoding="utf-8") as own:
            lines = default.read()
            lines = re.sub(r"(?m)^-p .*", f"-p {port}", lines)
            own.write(re.sub(r"(?m)^-P .*", f"-P {self.pid_path}", lines))
        self.log = open(os.path.join(folder, "log"), "ab")
        self.process = subprocess.Popen(self.command(binary, conf), stdout=self.log, stderr=self.log)
        wait_until(self.answers)

    @staticmethod
    def command(binary, conf):
        """The script wants root, and has its program's place written in it."""
        if os.geteuid() == 0:
            with open(WRAPPER, encoding="utf-8") as file:
                return ["perl", "-e", file.read().replace("/usr/bin/memcached", binary), conf]
        with open(conf, encoding="utf-8") as file:
            lines = [line.split("#")[0].strip() for line in file]
        return [binary, *" ".join(line for line in lines if re.match("-[^d]", line)).split()]

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"memcached.conf: ended with {self.process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
            return True
        except ConnectionRefusedError:
            return False

    def counts(self):
        with socket.create_connection(("127.0.0.1", self.port)) as peer:
            peer.sendall(b"stats\r\nquit\r\n")
            lines = peer.makefile("r").read().splitlines()
        stats = dict(line.split()[1:] for line in lines if line.startswith("STAT "))
        return {name: stats[name] for name in COUNTS}

    def stop(self):
        with open(self.pid_path, encoding="ascii") as file:
            pid = int(file.read())
        if pid != self.process.pid:
            raise AssertionError(f"the pid file says {pid}, it is {self.process.pid}")
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(ANSWER_SECONDS)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Site:
    """A site under way, and its visitors, who keep their cookies."""

    def __init__(self, command, environment=None):
        # PHP's server has children: they end with their group.
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        start_new_session=True, env={**os.environ, **(environment or {})})
        said = []
        for line in self.process.stdout:
            said.append(line)
            found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found[1])
                break
        else:
            code = self.process.wait()
            self.process.stdout.close()
            if code == SKIPPED:
                raise unittest.SkipTest("".join(said).strip())
            raise AssertionError(f"{command} ended with {code}: {''.join(said)}")
        self.visitors = {}

    def visit(self, who, path):
        """What the visitor sees: status, headers, cookies without their values, and the page."""
        cookies = self.visitors.setdefault(who, {})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        seen = []
        for header in answer.headers.get_all("Set-Cookie", []):
            for name, morsel in http.cookies.SimpleCookie(header).items():
                seen.append((name, sorted(key for key in morsel if morsel[key])))
                cookies[name] = morsel.value
        kept = sorted((name.lower(), value) for name, value in answer.getheaders()
                      if name.lower() not in HEADERS_OF_THE_MOMENT and f":{self.port}" not in value)
        return path, answer.status, kept, seen, body

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(ANSWER_SECONDS)
        self.process.stdout.close()


def site_file(name):
    return os.path.join(HERE, "sites", name)


def php_site(flags, port):
    if shutil.which("php") is None:
        raise unittest.SkipTest("php-cli is not installed")
    flags = {"session.use_strict_mode": "1", "session.gc_probability": "0",
             "memcached.sess_lock_retries": "1000", **flags}
    words = [word for name, value in flags.items() for word in ("-d", f"{name}={value.format(port=port)}")]
    return Site(["php", *words, "-S", "127.0.0.1:0", site_file("session.php")], {"PHP_CLI_SERVER_WORKERS": "4"})


SITES = {
    "django_pymemcache": lambda port: Site(
        ["/usr/bin/python3", site_file("django_site.py"), "PyMemcacheCache", "127.0.0.1", str(port)]),
    "django_pylibmc": lambda port: Site(
        ["/usr/bin/python3", site_file("django_site.py"), "PyLibMCCache", "127.0.0.1", str(port)]),
    "rails": lambda port: Site(["ruby", site_file("rails_cache.rb"), "127.0.0.1", str(port)]),
    "php_memcached": lambda port: php_site(
        {"session.save_handler": "memcached", "session.save_path": "127.0.0.1:{port}"}, port),
    "php_memcached_text": lambda port: php_site(
        {"session.save_handler": "memcached", "session.save_path": "127.0.0.1:{port}",
         "memcached.sess_binary_protocol": "0"}, port),
    "php_memcache": lambda port: php_site(
        {"session.save_handler": "memcache", "session.save_path": "tcp://127.0.0.1:{port}"}, port),
}

PAGES = [("ann", "/page/a"), ("bob", "/page/a"), ("ann", "/page/b"), ("bob", "/page/b"), ("ann", "/page/a")]
BASKETS = [("ann", "/basket/tea"), ("bob", "/basket/nails"), ("ann", "/basket/milk"), ("bob", "/basket/glue"),
           ("ann", "/basket/sugar"), ("ann", "/leave"), ("ann", "/basket/again"), ("bob", "/basket/rope")]
VISITS = {
    "django": [*PAGES, ("ann", "/fragment/a"), ("bob", "/fragment/a"), *BASKETS, ("ann", "/drawer"),
               ("bob", "/clear"), ("ann", "/page/a"), ("ann", "/fragment/a"), ("bob", "/basket/lamp")],
    "rails": [*PAGES, *BASKETS, ("ann", "/renew"), ("ann", "/basket/more"), ("ann", "/drawer"), ("ann", "/page/a"),
              ("bob", "/basket/lamp")],
    "php": [*BASKETS, ("ann", "/look/"), ("ann", "/look/"), ("ann", "/fill/50000"), ("ann", "/filled/"),
            ("ann", "/renew/"), ("ann", "/filled/"), ("ann", "/fill/300000"), ("ann", "/filled/"),
            ("bob", "/look/"), ("eve", "/look/")],
}


class Moves(unittest.TestCase):
    def setUp(self):
        self.memcached = shutil.which("memcached")
        for path in (self.memcached, CONF, WRAPPER):
            if path is None or not os.path.exists(path):
                self.skipTest("Debian's memcached is not installed")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        os.chmod(self.folder.name, 0o777)  # for the user that memcached.conf names

    def serve(self, program):
        folder = os.path.join(self.folder.name, os.path.basename(program))
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o777)
        service = Service(program, self.port, folder)
        self.addCleanup(service.end)
        return service

    def site(self, name):
        site = SITES[name](self.port)
        self.addCleanup(site.close)
        return site

    def visits(self, name, service):
        site = self.site(name)
        seen = [site.visit(who, path) for who, path in VISITS[name.split("_")[0]]]
        return site, seen, service.counts()

    def move(self, name):
        memcached = self.serve(self.memcached)
        site, wanted_pages, wanted_counts = self.visits(name, memcached)
        memcached.end()
        percore = self.serve(os.environ["PERCORE"])
        # The client finds the new server when it looks again; the session begins anew, and stays.
        wait_until(lambda: site.visit("zoe", "/basket/one")[1] == 200)
        wait_until(lambda: site.visit("zoe", "/basket/two")[4].endswith(b"two, two"))
        site.close()
        self.assertEqual(percore.stop(), 0)
        percore = self.serve(os.environ["PERCORE"])
        _, found_pages, found_counts = self.visits(name, percore)
        for wanted, found in zip(wanted_pages, found_pages):
            self.assertEqual(wanted, found)
        self.assertEqual(wanted_counts, found_counts)

    def test_visits_of_one_session_at_once(self):
        """PHP locks a session by add, and looks again until it gets the lock: no visit is lost."""
        self.serve(os.environ["PERCORE"])
        for name in ("php_memcached", "php_memcached_text", "php_memcache"):
            with self.subTest(name):
                site = self.site(name)
                site.visit("ann", "/basket/first")
                with ThreadPoolExecutor(4) as visitors:
                    list(visitors.map(lambda i: site.visit("ann", f"/basket/{i}"), range(8)))
                self.assertEqual(site.visit("ann", "/look/")[4], b"9 things")

    # What looks at a server from outside.

    def watch(self, command, environment=None):
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS,
                              env={**os.environ, **(environment or {})})
        return done.returncode, sorted(done.stdout.splitlines()), done.stderr

    def both(self, watch):
        """What a monitor says of memcached and of percore, after the same requests."""
        seen = []
        for program in (self.memcached, os.environ["PERCORE"]):
            service = self.serve(program)
            with socket.create_connection(("127.0.0.1", self.port)) as peer:
                peer.sendall(b"set a 0 0 3\r\nabc\r\nget a\r\nget b\r\nincr n 1\r\ndelete q\r\nquit\r\n")
                peer.makefile("rb").read()
            seen.append(watch())
            service.end()
        return seen

    def test_check_of_nagios(self):
        if not os.path.exists(CHECK):
            self.skipTest("monitoring-plugins-contrib is not installed")
        wanted, found = self.both(lambda: [self.watch([CHECK, "-H", "127.0.0.1", "-p", str(self.port), *flags])
                                           for flags in ([], ["-r"])])
        self.assertEqual(wanted, found)
        self.assertEqual(wanted[0][0], 0, wanted)

    def test_graphs_of_munin(self):
        if not os.path.exists(MUNIN):
            self.skipTest("munin-plugins-extra is not installed")
        link = os.path.join(self.folder.name, "memcached_")

        def watch():
            said = []
            for graph in ("rates", "counters", "bytes"):
                if not os.path.lexists(link + graph):
                    os.symlink(MUNIN, link + graph)
                for word in ("config", "fetch"):
                    code, lines, _ = self.watch([link + graph, word], {"host": "127.0.0.1", "port": str(self.port)})
                    said.append((code, [line for line in lines if not MOVING_VALUES.match(line)]))
            return said

        wanted, found = self.both(watch)
        self.assertEqual(wanted, found)
        self.assertTrue(all(code == 0 for code, _ in wanted), wanted)
        self.assertIn("memcache_cache_hits.value 1", wanted[1][1])


for site_name in SITES:
    setattr(Moves, f"test_{site_name}", lambda self, name=site_name: self.move(name))

if __name__ == "__main__":
    unittest.main(verbosity=2)
