#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""binary: the binary protocol, the same packets to Debian's memcached and to percore.

Goal: no client can tell them apart. Method: requests of every opcode, good and bad, each with its own
opaque and followed by a noop that ends its answer; packets are compared field by field. Cas uniques are
the server's own: only whether there is one is compared.

    binary.py FLAGS     starts memcached and $PERCORE cache FLAGS
"""
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))

import play  # noqa: E402
from cache_process import CacheProcess  # noqa: E402

HEADER = struct.Struct(">BBHBBHIIQ")
GET, SET, ADD, REPLACE, DELETE, INCR, DECR, QUIT, FLUSH, GETQ, NOOP, VERSION, GETK, GETKQ, APPEND, PREPEND, \
    STAT, SETQ, ADDQ, REPLACEQ, DELETEQ, INCRQ, DECRQ, QUITQ, FLUSHQ, APPENDQ, PREPENDQ, VERBOSITY, TOUCH, \
    GAT, GATQ = range(31)
GATK, GATKQ = 0x23, 0x24
ANY_CAS = (VERSION, STAT)


def packet(opcode, key=b"", value=b"", extra=b"", cas=0, opaque=7):
    body = extra + key + value
    return HEADER.pack(0x80, opcode, len(key), len(extra), 0, 0, len(body), opaque, cas) + body


def store(opcode, key, value, flags=0, exptime=0, cas=0):
    return packet(opcode, key, value, struct.pack(">II", flags, exptime), cas)


def count(opcode, key, delta, initial=0, exptime=0):
    return packet(opcode, key, b"", struct.pack(">QQI", delta, initial, exptime))


def timed(opcode, key, exptime):
    return packet(opcode, key, b"", struct.pack(">I", exptime))


class Side:
    def __init__(self, address):
        self.connection = play.Connection(address)
        self.bytes = b""
        self.cas = 0

    def exactly(self, size):
        while len(self.bytes) < size:
            try:
                some = self.connection.socket.recv(1 << 20)
            except ConnectionResetError:
                some = b""
            if not some:
                return None
            self.bytes += some
        data, self.bytes = self.bytes[:size], self.bytes[size:]
        return data

    def ask(self, request, cas_of_last=False):
        """The packets said in answer; None in place of one: closed."""
        if cas_of_last:
            request = request[:16] + struct.pack(">Q", self.cas) + request[24:]
        self.connection.send(request + packet(NOOP, opaque=99))
        said = []
        while True:
            head = self.exactly(HEADER.size)
            if head is None:
                return said + [None]
            magic, opcode, key, extra, kind, status, size, opaque, cas = HEADER.unpack(head)
            body = self.exactly(size)
            if opaque == 99:
                return said
            self.cas = cas or self.cas
            if opcode not in (VERSION, STAT):
                said.append((magic, opcode, key, extra, kind, status, size, opaque, cas != 0, body))
            else:
                said.append((magic, opcode, extra, kind, status, opaque, size > 0))


def requests():
    for opcode in (GET, GETQ, GETK, GETKQ, DELETE, DELETEQ):
        yield packet(opcode, b"a")
    for size in (0, 1, 511, 512, 513, 4096, 16384, 16385, 300000):
        yield store(SET, b"a", b"v" * size, flags=size)
        for opcode in (GET, GETQ, GETK, GETKQ):
            yield packet(opcode, b"a")
    for opcode in (ADD, ADDQ, REPLACE, REPLACEQ, SETQ):
        yield store(opcode, b"a", b"x", 5)
        yield store(opcode, b"none-%d" % opcode, b"x" * 20000, 6)
        yield packet(GET, b"a")
    for opcode in (APPEND, PREPEND, APPENDQ, PREPENDQ):
        yield packet(opcode, b"a", b"end")
        yield packet(opcode, b"nobody", b"end")
        yield packet(GET, b"a")
    yield store(SET, b"a", b"x", cas=12345678901)
    yield store(SET, b"missing", b"x", cas=5)
    yield "cas", store(SET, b"a", b"y")
    yield "cas", packet(DELETE, b"a")
    yield store(SET, b"a", b"x" * 2000000)
    yield packet(GET, b"a")
    for opcode in (INCR, INCRQ, DECR, DECRQ):
        yield count(opcode, b"n-%d" % opcode, 5, 10, 0xffffffff)
        yield count(opcode, b"n-%d" % opcode, 5, 10)
        yield count(opcode, b"n-%d" % opcode, 5, 10)
        yield packet(GET, b"n-%d" % opcode)
    yield store(SET, b"a", b"word")
    yield count(INCR, b"a", 1)
    yield count(INCRQ, b"a", 1)
    for opcode in (TOUCH, GAT, GATQ, GATK, GATKQ):
        yield timed(opcode, b"a", 100)
        yield timed(opcode, b"missing", 100)
    yield timed(TOUCH, b"a", 2592001)
    yield packet(GET, b"a")
    yield store(SET, b"a", b"x")
    yield packet(FLUSH)
    yield packet(GET, b"a")
    yield packet(FLUSHQ, extra=struct.pack(">I", 0))
    yield packet(VERSION)
    yield packet(STAT, b"nothing-of-the-kind")
    yield packet(0x50)


def last_requests():
    """Each is the last of a connection: the server may close."""
    yield packet(QUIT)
    yield packet(QUITQ)
    yield packet(GET)
    yield packet(GET, b"a", b"value")
    yield packet(SET, b"a", b"value")
    yield packet(NOOP, b"a")
    yield packet(INCR, b"a")
    yield HEADER.pack(0x80, GET, 300, 0, 0, 0, 300, 7, 0) + b"k" * 300
    yield HEADER.pack(0x80, GET, 10, 0, 0, 0, 5, 7, 0) + b"k" * 5


def compare(request, sides, how=""):
    said = [side.ask(request, how == "cas") for side in sides]
    if said[0] != said[1]:
        raise play.Mismatch(f"to {request[:60]!r}\n  memcached {said[0]!r:.400}\n  percore   {said[1]!r:.400}")


def main(flags):
    with play.reference_server() as address:
        if address is None:
            print("memcached is not installed")
            return 77
        with CacheProcess(*flags) as cache:
            addresses = (address, cache.address)
            sides = [Side(each) for each in addresses]
            number = 0
            for request in requests():
                how, request = request if isinstance(request, tuple) else ("", request)
                compare(request, sides, how)
                number += 1
            for request in last_requests():
                ends = [Side(each).ask(request)[-1] for each in addresses]
                if (ends[0] is None) != (ends[1] is None):
                    raise play.Mismatch(f"to {request[:60]!r}: memcached ends with {ends[0]}, percore {ends[1]}")
                number += 1
            print(f"{number} requests answered alike")
            return 0 if cache.stop() == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1].split() if len(sys.argv) > 1 else []))
