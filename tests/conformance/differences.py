# SPDX-License-Identifier: Apache-2.0
"""differences: where percore may answer otherwise than memcached 1.6.18.

Each rule names the line of docs/compatibility.md that says so to people (the first words of it), and
tells from a request and the two replies whether it applies. `parts` says that the two servers may
have read on from different bytes, or hold different items, so that the comparison starts afresh.
"""
import re

FORMAT = b"CLIENT_ERROR bad command line format\r\n"


class Rule:
    def __init__(self, line, applies, parts=False):
        self.line, self.applies, self.parts = line, applies, parts


def words(request):
    return request.split(b"\n", 1)[0].rstrip(b"\r").split()


def command(request):
    found = words(request)
    return found[0] if found else b""


def is_store(request):
    return command(request) in (b"set", b"add", b"replace", b"append", b"prepend", b"cas")


def is_meta(request):
    return command(request) in (b"mg", b"ms", b"md", b"ma", b"me")


def flags(request):
    return words(request)[3 if command(request) == b"ms" else 2:]


def has_flag(request, letters):
    return any(flag[:1] in letters for flag in flags(request))


LETTERS_NEW = [b"E", b"x"]

def without_padding(reply):
    """The reply without the spaces that decr may leave behind a number, and the lengths they change."""
    reply = re.sub(rb"(VALUE \S+ \d+ |VA | s)\d+", rb"\1", reply)
    return re.sub(rb"(\r\n\d+) +\r\n", rb"\1\r\n", reply)


RULES = [
    Rule("`incr` `decr`",
         lambda q, ref, our: without_padding(ref) == without_padding(our), parts=True),
    Rule("words missing, lines under 4 bytes",
         lambda q, ref, our: ref.startswith(b"ERROR\r\n") and our.startswith(FORMAT), parts=True),
    Rule("words missing, lines under 4 bytes",
         lambda q, ref, our: ref == b"CLIENT_ERROR bad data chunk\r\nERROR\r\n"
         and our in (b"CLIENT_ERROR bad data chunk\r\nERROR\r\n", b"CLIENT_ERROR bad data chunk\r\n" + FORMAT),
         parts=True),
    Rule("a store with bad flags, exptime, cas unique or key",
         lambda q, ref, our: is_store(q) and our in (FORMAT, b"") and
         (ref == b"" or ref.startswith((FORMAT, b"ERROR\r\n"))),
         parts=True),
    Rule("words too many",
         lambda q, ref, our: ref.startswith(b"ERROR\r\n") and len(words(q)) > 3, parts=True),
    Rule("`foo noreply`",
         lambda q, ref, our: words(q)[-1:] == [b"noreply"] and ref == b"ERROR\r\n" and our == b""),
    Rule("a line that begins with a space",
         lambda q, ref, our: q.startswith(b" ") and our.startswith(b"ERROR\r\n"), parts=True),
    Rule("`gat` `gats`",
         lambda q, ref, our: command(q) in (b"gat", b"gats") and our == FORMAT and ref == b"END\r\n"),
    Rule("`+` before a number, numbers of more digits than fit",
         lambda q, ref, our: b"+" in q and our.startswith(b"CLIENT_ERROR"), parts=True),
    Rule("`+` before a number, numbers of more digits than fit",
         lambda q, ref, our: re.search(rb"\d{10}", q) is not None and our.startswith(b"CLIENT_ERROR"),
         parts=True),
    Rule("`delete`",
         lambda q, ref, our: command(q) == b"delete" and len(words(q)) > 4 and ref == b"ERROR\r\n"
         and our.startswith(FORMAT[:-2])),
    Rule("All flags of 1.6.45, so more than 1.6.18 knows",
         lambda q, ref, our: is_meta(q) and has_flag(q, LETTERS_NEW)
         and ref.startswith((b"CLIENT_ERROR invalid flag", b"CLIENT_ERROR invalid or duplicate flag")),
         parts=True),
    Rule("All flags of 1.6.45, so more than 1.6.18 knows",
         lambda q, ref, our: command(q) == b"ms" and has_flag(q, [b"s", b"N"]), parts=True),
    Rule("All flags of 1.6.45, so more than 1.6.18 knows",
         lambda q, ref, our: command(q) == b"mg" and has_flag(q, [b"C"])),
    Rule("wrong flags",
         lambda q, ref, our: is_meta(q) and ref.startswith(b"CLIENT_ERROR") and our.startswith(b"CLIENT_ERROR"),
         parts=True),
    Rule("`q` with `ma`",
         lambda q, ref, our: command(q) == b"ma" and has_flag(q, [b"q"]) and our == b""
         and ref.startswith((b"HD", b"VA")), parts=True),
    Rule("`C` with `ma`",
         lambda q, ref, our: command(q) == b"ma" and has_flag(q, [b"C"]) and our.startswith(b"EX")
         and ref.startswith(b"CLIENT_ERROR cannot increment")),
    Rule("`b`",
         lambda q, ref, our: is_meta(q) and b"b" in flags(q) and has_flag(q, [b"k"])
         and our.replace(b" ka2V5 b", b" kkey") == ref),
    Rule("cas uniques",
         lambda q, ref, our: command(q) == b"ms" and b"I" in flags(q) and {ref[:2], our[:2]} == {b"HD", b"EX"},
         parts=True),
    Rule("`shutdown`",
         lambda q, ref, our: command(q) == b"shutdown" and our == b"SERVER_ERROR: shutdown not enabled\r\n"
         and ref == b"ERROR: shutdown not enabled\r\n"),
    Rule("`slabs reassign` `slabs automove`",
         lambda q, ref, our: q.startswith(b"slabs automove window ") and ref == FORMAT
         and our in (b"OK\r\n", b"CLIENT_ERROR automove window too low or too high\r\n")),
    Rule("`lru_crawler enable`",
         lambda q, ref, our: q.startswith(b"lru_crawler enable") and our == b"OK\r\n"
         and ref == b"ERROR failed to start lru crawler thread\r\n"),
    Rule("`me`", lambda q, ref, our: command(q) == b"me" and ref.startswith(b"ME ") and our.startswith(b"ME ")),
]


def allowed(request, reference, ours):
    """The rule that lets these two replies differ, or None."""
    for rule in RULES:
        if rule.applies(request, reference, ours):
            return rule
    return None
