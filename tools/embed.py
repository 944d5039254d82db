#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""embed: files as arrays in a C source, so that a program carries them with it.

usage: embed.py OUTPUT NAME=FILE...   each becomes `const unsigned char NAME[]` and `NAME_bytes`
"""
import sys


def rows(data):
    for at in range(0, len(data), 24):
        yield "    " + "".join(f"{byte}," for byte in data[at:at + 24]) + "\n"


def main():
    output, pairs = sys.argv[1], [word.split("=", 1) for word in sys.argv[2:]]
    with open(output, "w", encoding="ascii") as out:
        out.write("#include <stddef.h>\n")
        for name, path in pairs:
            with open(path, "rb") as file:
                data = file.read()
            out.write(f"extern const unsigned char {name}[];\nextern const size_t {name}_bytes;\n")
            # A terminator, so that an empty file is an array, too.
            out.write(f"const unsigned char {name}[] = {{\n")
            out.writelines(rows(data + b"\0"))
            out.write(f"}};\nconst size_t {name}_bytes = {len(data)};\n")


if __name__ == "__main__":
    main()
