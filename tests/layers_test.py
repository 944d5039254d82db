#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""layers: the arrows of the module table point down only.

Goal: a file may include only what its module may know (ARCHITECTURE.md has the same table for
people). Method: read every #include line of the tree, name the module of both ends, look the pair
up. Each kind of complaint is first provoked in an invented tree, so that a silent checker fails.
"""
import os
import re
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Folder of each module, the longest prefix wins.
FOLDERS = {
    "include/percore": "public",
    "src/base": "base",
    "src/runtime": "runtime",
    "src/runtime/poller": "poller",
    "src/models": "models",
    "src/protocols": "protocols",
    "src/store": "store",
    "src/store/owners": "owners",
    "src/services": "services",
    "src/admin": "admin",
    "src/measure": "measure",
    "programs": "programs",
}

# What each module may include besides itself. Public headers are the runtime's face.
MAY_INCLUDE = {
    "public": set(),
    "base": set(),
    "runtime": {"base", "public"},
    "poller": {"base"},
    "models": {"runtime", "base", "public"},
    "protocols": {"base"},
    "store": {"base"},
    "owners": {"store", "runtime", "base", "public"},
    "services": {"protocols", "store", "owners", "runtime", "base", "public"},
    "admin": {"runtime", "base", "public"},
    "measure": {"protocols", "runtime", "base", "public"},
    "programs": set(FOLDERS.values()),
}

# Single headers that are a door between two modules.
DOORS = {
    # A choice is a folder behind one small header; the runtime sees only that header.
    "src/runtime/poller/poller.h": {"runtime", "models", "measure"},
    # Every system call, a poller's too, goes through struct pc_kernel.
    "src/runtime/kernel.h": {"poller"},
    # All limits sit together.
    "src/runtime/limits.h": {"poller"},
}

# base is the C library and nothing else.
LIBRARIES = re.compile(r"hwloc|jansson|xxhash|zlib|liburing|openssl/|microhttpd|curses|cmocka")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
GENERATED = {"percore_version.h"}


def module_of(path):
    """The module a path belongs to, or None."""
    folder = os.path.dirname(path)
    while folder:
        if folder in FOLDERS:
            return FOLDERS[folder]
        folder = os.path.dirname(folder)
    return None


def resolve(root, includer, bracket, name):
    """The included file's path in the tree; None if it is not ours; "" if it should be and is missing."""
    if bracket == "<":
        return "include/" + name if name.startswith("percore/") else None
    if name in GENERATED:
        return None
    for folder in (os.path.dirname(includer), "src", "programs", ""):
        path = os.path.normpath(os.path.join(folder, name))
        if os.path.isfile(os.path.join(root, path)):
            return path
    return ""


def check_line(root, path, module, bracket, name):
    """What is wrong with one include, or None."""
    if bracket == "<" and module == "base" and LIBRARIES.match(name):
        return f"base may include the C library only, not <{name}>"
    target = resolve(root, path, bracket, name)
    if target is None:
        return None
    if target == "" or not os.path.isfile(os.path.join(root, target)):
        return f'"{name}" is not in the tree'
    if target.endswith(".c"):
        return f'"{name}" is a source file: include its header'
    other = module_of(target)
    if other == module or other in MAY_INCLUDE[module] or module in DOORS.get(target, ()):
        return None
    legal = ", ".join(sorted(MAY_INCLUDE[module])) or "nothing of ours"
    return f'{module} may not include {other} ("{name}"); it may include: {legal}'


def check_tree(root):
    """Every complaint as "path:line: message", and how many files were read."""
    complaints, file_count = [], 0
    for top in ("include", "src", "programs"):
        for folder, _, names in sorted(os.walk(os.path.join(root, top))):
            for name in sorted(names):
                if not name.endswith((".c", ".h", ".def")):
                    continue
                path = os.path.relpath(os.path.join(folder, name), root)
                module = module_of(path)
                file_count += 1
                if module is None:
                    complaints.append(f"{path}: this folder is in no module: see tests/layers_test.py")
                    continue
                with open(os.path.join(root, path), encoding="utf-8") as file:
                    for number, line in enumerate(file, 1):
                        match = INCLUDE.match(line)
                        trouble = match and check_line(root, path, module, *match.groups())
                        if trouble:
                            complaints.append(f"{path}:{number}: {trouble}")
    return complaints, file_count


class PlantedViolations(unittest.TestCase):
    """An invented tree with one mistake: it is found, with its place and its reason."""

    def complaints(self, files):
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                    file.write(text)
            return check_tree(root)[0]

    def test_arrow_up_is_found(self):
        found = self.complaints({
            "src/base/list.h": "\n#include \"runtime/core.h\"\n",
            "src/runtime/core.h": "",
        })
        self.assertEqual(len(found), 1)
        self.assertIn("src/base/list.h:2: base may not include runtime", found[0])

    def test_protocol_cannot_see_a_store(self):
        found = self.complaints({
            "src/protocols/frame.c": "#  include \"store/slice.h\"\n",
            "src/store/slice.h": "",
        })
        self.assertIn("protocols may not include store", found[0])

    def test_store_cannot_see_its_owners(self):
        found = self.complaints({
            "src/store/slice.c": "#include \"owners/crew.h\"\n",
            "src/store/owners/crew.h": "",
        })
        self.assertIn("store may not include owners", found[0])

    def test_runtime_sees_one_header_of_a_poller(self):
        found = self.complaints({
            "src/runtime/core.c": "#include \"runtime/poller/poller.h\"\n"
                                  "#include \"runtime/poller/epoll.h\"\n",
            "src/runtime/poller/poller.h": "",
            "src/runtime/poller/epoll.h": "",
        })
        self.assertEqual(len(found), 1)
        self.assertIn("src/runtime/core.c:2", found[0])

    def test_public_header_stands_alone(self):
        found = self.complaints({
            "include/percore/service.h": "#include \"base/check.h\"\n",
            "src/base/check.h": "",
        })
        self.assertIn("public may not include base", found[0])

    def test_missing_and_source_files_are_found(self):
        found = self.complaints({
            "src/store/slice.c": "#include \"store/gone.h\"\n#include \"store/log.c\"\n",
            "src/store/log.c": "",
        })
        self.assertIn("is not in the tree", found[0])
        self.assertIn("is a source file", found[1])

    def test_base_takes_no_library(self):
        found = self.complaints({"src/base/hash.h": "#include <xxhash.h>\n#include <stdint.h>\n"})
        self.assertEqual(len(found), 1)
        self.assertIn("C library only", found[0])

    def test_unknown_folder_is_found(self):
        self.assertIn("in no module", self.complaints({"src/misc/x.h": ""})[0])

    def test_legal_tree_is_silent(self):
        self.assertEqual([], self.complaints({
            "src/services/echo.c": "#include \"services/echo.h\"\n#include <percore/service.h>\n"
                                   "#include \"protocols/frame.h\"\n#include <string.h>\n",
            "src/services/echo.h": "",
            "src/protocols/frame.h": "#include \"base/check.h\"\n",
            "src/base/check.h": "",
            "include/percore/service.h": "#include <stdint.h>\n",
        }))


class Tree(unittest.TestCase):
    def test_arrows_point_down(self):
        complaints, file_count = check_tree(ROOT)
        self.assertGreater(file_count, 0)
        self.assertEqual([], complaints, "\n" + "\n".join(complaints))


if __name__ == "__main__":
    unittest.main(verbosity=2)
