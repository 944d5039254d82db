#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""differential: the same random requests to Debian's memcached and to percore, byte by byte.

Goal: nobody can tell the two apart but by the rules of differences.py. Method: streams of requests
on few keys, good and bad, each followed by a miss of a kind of its own that ends its reply. Cas uniques
are the server's own: they are compared by the order in which they first appear. The seed is printed.

    differential.py FLAGS [STREAMS [SEED]]     starts memcached and $PERCORE cache FLAGS
"""
import os
import random
import re
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))

import differences  # noqa: E402
import play  # noqa: E402
from cache_process import CacheProcess  # noqa: E402

REQUESTS_A_STREAM = 60


class Side:
    """One connection to one server, and the cas uniques it has told."""

    def __init__(self, address):
        self.connection = play.Connection(address)
        self.names = {}
        self.latest = b"1"

    def ask(self, template):
        """The reply, with cas uniques named, and whether the server closed."""
        self.connection.send(template.replace(b"{cas}", self.latest) + b"mg nobody Oend\r\n")
        said = b""
        while not said.endswith(b"EN Oend\r\n"):
            try:
                some = self.connection.socket.recv(1 << 20)
            except ConnectionResetError:
                some = b""
            except socket.timeout:
                raise play.Mismatch(f"no end of a reply: {said[:200]!r}")
            if not some:
                return said, True
            said += some
        said = said[:-len(b"EN Oend\r\n")]
        said = re.sub(rb"(VALUE \S+ \d+ \d+ )(\d+)", lambda m: m[1] + self.name(m[2]), said)
        return re.sub(rb"((?:HD|VA|EN|NF|NS|EX)[^\r]*? c)(\d+)", lambda m: m[1] + self.name(m[2]), said), False

    def name(self, number):
        if number != b"0":
            self.latest = number
        return self.names.setdefault(number, b"cas-%d" % len(self.names))


def block(r):
    size = r.choice([0, 1, 2, 5, 20, 300, 600, 5000, 17000])
    return b"%d" % r.randrange(100000) if r.random() < 0.4 else bytes([r.randrange(97, 123)]) * size


def classic(r, key):
    tail = r.choice([b"", b"", b"", b" noreply"])
    time = r.choice([b"0", b"0", b"100", b"-1", b"2592001", b"4000000000", b"x"]) if r.random() < 0.3 else b"0"
    verb = r.choice([b"get", b"gets", b"gat", b"gats", b"set", b"add", b"replace", b"append", b"prepend",
                     b"cas", b"delete", b"incr", b"decr", b"touch", b"flush_all"])
    if verb in (b"get", b"gets"):
        return b"%s %s%s\r\n" % (verb, key, r.choice([b"", b" k1", b" k1 k2 k3"]))
    if verb in (b"gat", b"gats"):
        return b"%s %s %s%s\r\n" % (verb, time, key, r.choice([b"", b" k1"]))
    if verb == b"delete":
        return b"delete %s%s%s\r\n" % (key, r.choice([b"", b"", b" 0", b" 1"]), tail)
    if verb in (b"incr", b"decr"):
        delta = r.choice([b"1", b"5", b"18446744073709551615", b"x", b"-1", b"007"])
        return b"%s %s %s%s\r\n" % (verb, key, delta, tail)
    if verb == b"touch":
        tail = b"" if len(time) > 9 else tail  # told apart only by the reply
        return b"touch %s %s%s\r\n" % (key, time, tail)
    if verb == b"flush_all":
        return b"flush_all%s%s\r\n" % (r.choice([b"", b" 0", b" x"]), tail)
    data = block(r)
    number = r.choice([b"{cas}", b"{cas}", b"3", b"x"]) if verb == b"cas" else b""
    flags = r.choice([b"0", b"5", b"4294967295", b"x"]) if r.random() < 0.3 else b"0"
    return (b"%s %s %s %s %d" % (verb, key, flags, time, len(data)) + (b" " + number if number else b"") +
            tail + b"\r\n" + data + b"\r\n")


def meta(r, key):
    verb = r.choice([b"mg", b"mg", b"ms", b"ms", b"md", b"ma", b"me", b"mn"])
    if verb == b"mn":
        return b"mn\r\n"
    choices = {
        b"mg": [b"v", b"v", b"f", b"c", b"s", b"k", b"Oxyz", b"q", b"h", b"u", b"N100", b"T100", b"R200", b"R5",
                b"T-1", b"N", b"Z"],
        b"ms": [b"c", b"k", b"Oxyz", b"q", b"F9", b"T100", b"C{cas}", b"C2", b"I", b"ME", b"MA", b"MP", b"MR",
                b"MS", b"MX", b"T-1", b"FX"],
        b"md": [b"k", b"Oxyz", b"q", b"C{cas}", b"C2", b"I", b"T100", b"x"],
        b"ma": [b"v", b"v", b"c", b"k", b"Oxyz", b"q", b"N100", b"J13", b"D5", b"MD", b"MI", b"M+", b"M-", b"MX",
                b"T100", b"C{cas}", b"C2", b"Dx"],
        b"me": [],
    }[verb]
    flags = r.sample(choices, r.randrange(min(5, len(choices) + 1)))
    if r.random() < 0.1:
        key, flags = b"a2V5", flags + [b"b"]
    line = verb + b" " + key
    data = block(r)
    if verb == b"ms":
        line += b" %d" % len(data)
    line += b"".join(b" " + flag for flag in flags) + b"\r\n"
    return line + (data + b"\r\n" if verb == b"ms" else b"")


def broken(r, key):
    return r.choice([
        b"\r\n", b"\n", b"x\r\n", b"foo\r\n", b"foo noreply\r\n", b"GET a\r\n", b" get a\r\n", b"get\r\n", b"get \r\n",
        b"gat 1\r\n", b"set\r\n", b"set a 0 0\r\n", b"set a 0 0 -1\r\n", b"set a 0 0 x\r\n", b"incr a\r\n", b"touch a\r\n",
        b"touch a +1\r\n", b"incr " + key + b" +1\r\n", b"delete\r\n", b"delete a b c d e\r\n", b"incr a 1 2 3\r\n",
        b"set " + key + b" 0 0 1\r\nxy\r\n", b"set " + b"k" * 251 + b" 0 0 1\r\nx\r\n", b"get " + b"k" * 251 + b"\r\n",
        b"get " + key + b"\n", b"set " + key + b" 0 0 1\nx\r\n", b"mg\r\n", b"mg " + key + b" -\r\n",
        b"mg " + key + b" v v\r\n", b"ms " + key + b" S2\r\n", b"ms " + key + b" x\r\n", b"verbosity\r\n",
        b"get " + key + b" \r\n", b"get   " + key + b"\r\n", b"shutdown now\r\n", b"stats nonsense\r\n",
        b"get " + b"other " * 500 + key + b"\r\n",
    ])


def admin(r, key):
    """Commands of administrators, good and bad, whose replies do not depend on what is stored."""
    number = r.choice([b"0", b"1", b"2", b"3", b"16", b"63", b"64", b"x", b"-1", b"1.5", b"2000000"])
    tail = r.choice([b"", b"", b" noreply"])
    return r.choice([
        b"cache_memlimit %s%s\r\n" % (r.choice([b"64", b"100", b"7", b"x", b"-1", b"2000000000"]), tail),
        b"lru tune %s 25 %s 2.0%s\r\n" % (number, r.choice([b"0.1", b"0", b"x", b"1e-1"]), tail),
        b"lru mode %s%s\r\n" % (r.choice([b"flat", b"segmented", b"x"]), tail),
        b"lru temp_ttl %s%s\r\n" % (number, tail), b"lru\r\n", b"lru x\r\n",
        b"lru_crawler sleep %s\r\n" % number, b"lru_crawler tocrawl %s\r\n" % number,
        b"lru_crawler enable\r\n", b"lru_crawler x\r\n", b"lru_crawler\r\n", b"lru_crawler sleep\r\n",
        b"lru_crawler crawl x\r\n", b"lru_crawler crawl 1,64\r\n", b"lru_crawler metadump x\r\n",
        b"lru_crawler metadump %s\r\n" % r.choice([b"0", b"64", b"99"]),
        b"lru_crawler metadump\r\n", b"slabs reassign %s %s\r\n" % (number, r.choice([b"1", b"2", b"99", b"x"])),
        b"slabs automove %s%s\r\n" % (number, tail), b"slabs automove window %s\r\n" % number,
        b"slabs automove ratio %s\r\n" % number, b"slabs\r\n", b"slabs x\r\n", b"slabs reassign 1\r\n",
        b"stats sizes\r\n", b"stats reset\r\n", b"verbosity %s%s\r\n" % (r.choice([b"0", b"1", b"x"]), tail),
    ])


def near(ours, reference):
    """The same, but for a second that may have passed between the two."""
    times = rb" t(\d+)"
    if re.sub(times, b" t", ours) != re.sub(times, b" t", reference):
        return False
    return all(abs(int(a) - int(b)) <= 1
               for a, b in zip(re.findall(times, ours), re.findall(times, reference)))


def play_stream(seed, addresses, used):
    r = random.Random(seed)
    reference, ours = (Side(address) for address in addresses)
    for side in (reference, ours):
        side.ask(b"flush_all\r\n")
    history = []
    for _ in range(REQUESTS_A_STREAM):
        key = b"k%d" % r.randrange(5)
        request = r.choices([classic, meta, broken, admin], [10, 10, 2, 1])[0](r, key)
        history.append(request)
        (said, closed), (our_said, our_closed) = reference.ask(request), ours.ask(request)
        if closed == our_closed and near(our_said, said):
            if closed:
                return
            continue
        rule = differences.allowed(request, said, our_said)
        if rule is None:
            tail = b"".join(h[:200] for h in history[-6:])
            raise play.Mismatch(f"seed {seed}: to {request[:200]!r}\n  memcached {said[:300]!r} {closed}\n"
                                f"  percore   {our_said[:300]!r} {our_closed}\n  after {tail!r}")
        used[rule.line] = used.get(rule.line, 0) + 1
        if rule.parts or closed or our_closed:
            return


def check_lines():
    """Every rule names a line that is in the document."""
    with open(os.path.join(HERE, "..", "..", "docs", "compatibility.md"), encoding="utf-8") as file:
        text = file.read()
    missing = [rule.line for rule in differences.RULES if rule.line not in text]
    if missing:
        sys.exit(f"docs/compatibility.md does not say: {missing}")


def main(arguments):
    check_lines()
    flags = arguments[0].split() if arguments else []
    long_run = os.environ.get("PC_TEST_SCALE") == "long"
    streams = int(arguments[1]) if len(arguments) > 1 else 20000 if long_run else 300
    seed = int(arguments[2]) if len(arguments) > 2 else 1
    print(f"{streams} streams from seed {seed}")
    with play.reference_server() as address:
        if address is None:
            print("memcached is not installed")
            return 77
        with CacheProcess(*flags) as cache:
            used = {}
            for i in range(streams):
                play_stream(seed + i, (address, cache.address), used)
            for line, count in sorted(used.items()):
                print(f"{count:6} allowed: {line}")
            return 0 if cache.stop() == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
