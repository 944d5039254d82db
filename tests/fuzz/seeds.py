#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""seeds: the transcripts of tests/conformance as inputs of the fuzz target `server`.

    seeds.py FOLDER     writes an input for each block, and for the packets of binary.py

./dev fuzz merges what is new in them into tests/fuzz/corpus/server.
"""
import glob
import hashlib
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CONFORMANCE = os.path.join(HERE, "..", "conformance")
sys.path[:0] = [CONFORMANCE, os.path.join(HERE, "..", "integration")]
os.environ.setdefault("PERCORE", "percore")  # what starts it is imported and not used

import binary  # noqa: E402
import play  # noqa: E402

SECONDS_PASS = b"\xfe\xed\x02"
PACKETS_PER_SEED = 12
SEED_BYTES_MAX = 60000


def sent(line):
    if line.startswith(">> "):
        return play.spread(line[3:]).encode("latin-1").decode("unicode_escape").encode("latin-1")
    if line.startswith("> "):
        return play.spread(line[2:]).encode("latin-1") + b"\r\n"
    return b""


def text_streams():
    for path in sorted(glob.glob(os.path.join(CONFORMANCE, "*.txt"))):
        for _, steps in play.read_blocks(path):
            parts = [sent(line) for _, line in steps]
            yield b"".join(parts)
            # The same again with time between the halves: what expires does.
            middle = len(parts) // 2
            yield b"".join(parts[:middle]) + SECONDS_PASS + b"".join(parts[middle:])


def binary_streams():
    packets = [each[1] if isinstance(each, tuple) else each for each in binary.requests()]
    packets = [packet for packet in packets if len(packet) < SEED_BYTES_MAX // PACKETS_PER_SEED]
    for begin in range(0, len(packets), PACKETS_PER_SEED):
        yield b"".join(packets[begin:begin + PACKETS_PER_SEED])
    yield from binary.last_requests()


def main(folder):
    os.makedirs(folder, exist_ok=True)
    streams = [stream for stream in (*text_streams(), *binary_streams()) if len(stream) < SEED_BYTES_MAX]
    for number, stream in enumerate(streams):
        # Every setting has its turn; the four bytes after it seed the cuts.
        seed = bytes([number % 32]) + number.to_bytes(4, "big") + stream
        with open(os.path.join(folder, hashlib.sha1(seed).hexdigest()[:12]), "wb") as file:
            file.write(seed)
    print(f"{len(streams)} inputs in {folder}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
