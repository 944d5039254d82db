#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""headers: every header compiles alone, and twice, with each compiler given.

Goal: including a header never depends on what was included before it. Method: a source of two
equal #include lines per header, compiled with -fsyntax-only. Usage: headers_test.py BUILD_DIR
COMPILER...; a compiler that is not installed is a skipped case.
"""
import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FLAGS = ["-std=gnu17", "-D_GNU_SOURCE", "-DPC_HOOKS=1", "-Wall", "-Wextra", "-Wundef",
         "-Wstrict-prototypes", "-Wno-unused-parameter", "-Werror", "-fsyntax-only", "-x", "c", "-"]


def headers():
    """How each header of the tree is written in an #include line."""
    for top in ("include", "src", "programs", "tests/support"):
        for folder, _, names in sorted(os.walk(os.path.join(ROOT, top))):
            for name in sorted(names):
                path = os.path.relpath(os.path.join(folder, name), os.path.join(ROOT, top))
                if name.endswith(".h"):
                    yield f"<{path}>" if top == "include" else f'"{path}"'


def compile_alone(compiler, folders, header):
    """The compiler's complaint about the header alone, or an empty string."""
    source = f"#include {header}\n#include {header}\n"
    command = [compiler, *(f"-I{folder}" for folder in folders), *FLAGS]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    return done.stderr or f"{compiler} ended with {done.returncode}"


def finds_planted(compiler):
    """Whether a header that leans on one before it, and one without a guard, are both refused."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("leans.h", "#pragma once\nextern size_t count;\n"),
                           ("twice.h", "struct twice { int count; };\n")):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        return all(compile_alone(compiler, [folder], header)
                   for header in ('"leans.h"', '"twice.h"'))


def main():
    build, compilers = sys.argv[1], sys.argv[2:]
    passed = failed = skipped = 0
    found = list(headers())
    folders = [os.path.join(ROOT, folder)
               for folder in ("include", "src", "programs", "tests/support", ".")] + [build]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for compiler in compilers:
            if shutil.which(compiler) is None:
                print(f"skipped: {compiler} is not installed")
                skipped += len(found)
                continue
            if not found or not finds_planted(compiler):
                print(f"{compiler}: a header that does not compile alone was not noticed")
                failed += 1
                continue
            passed += 1
            for header, trouble in zip(found, pool.map(
                    lambda header, compiler=compiler: compile_alone(compiler, folders, header),
                    found)):
                passed += trouble == ""
                failed += trouble != ""
                if trouble:
                    print(f"{compiler}: {header} does not compile alone:\n{trouble}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
