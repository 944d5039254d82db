#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""manual: every flag a command has is in its man page, and no other.

Goal: the pages stay true. Method: the flags that open a line of `percore COMMAND --help` against
those that open a paragraph of docs/man/percore-COMMAND.1.scd, both ways, for every command that
`percore --help` lists.
"""
import os
import re
import subprocess
import unittest

PERCORE = os.environ["PERCORE"]
MAN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "man")


def help_of(*words):
    done = subprocess.run([PERCORE, *words, "--help"], capture_output=True, text=True, check=True)
    return done.stdout


def flags_of_help(text):
    """The flags in the first column: "  -p, --port PORT   what it is"."""
    found = set()
    for line in text.splitlines():
        if re.match(r"^ {1,6}-", line):
            column = re.split(r" {2,}", line.strip())[0]
            found.update(word.rstrip(",") for word in column.split() if word.startswith("-"))
    return found


def flags_of_page(text):
    """The flags of lines such as "*-p*, *--port*=_number_"."""
    found = set()
    for line in text.splitlines():
        if line.startswith("*-"):
            found.update(re.findall(r"\*(--?[A-Za-z][A-Za-z0-9-]*)\*", line))
    return found


class Manual(unittest.TestCase):
    def commands(self):
        return re.findall(r"^  (\w+) {2,}", help_of(), re.M)

    def page(self, name):
        with open(os.path.join(MAN, name + ".1.scd"), encoding="utf-8") as file:
            return file.read()

    def test_every_command_is_on_the_first_page(self):
        commands = self.commands()
        self.assertTrue(commands)
        listed = re.findall(r"^\*(\w+)\*$", self.page("percore"), re.M)
        self.assertEqual(sorted(commands), sorted(set(commands) & set(listed)))

    def test_every_flag_is_on_its_page_and_no_other(self):
        for command in self.commands():
            with self.subTest(command=command):
                said = flags_of_help(help_of(command))
                written = flags_of_page(self.page("percore-" + command))
                self.assertGreater(len(said), 3)
                self.assertEqual(sorted(said), sorted(written))


if __name__ == "__main__":
    unittest.main(verbosity=2)
