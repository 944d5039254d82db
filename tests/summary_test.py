#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""summary: the count at the end of ./test is what ran.

Goal: nothing that crashed, was cut short or skipped counts as passed. Method: the counting function
on logs as Meson writes them, around output as cmocka and unittest print it.
"""
import importlib.util
import os
import subprocess
import sys
import tempfile
import unittest

SUMMARY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools", "summary.py")
spec = importlib.util.spec_from_file_location("summary", SUMMARY)
summary = importlib.util.module_from_spec(spec)
spec.loader.exec_module(summary)

CMOCKA_OUT = """[==========] Running 4 test(s).
[ RUN      ] holds
[       OK ] holds
[ RUN      ] breaks
[ RUN      ] waits
[ RUN      ] is_late
[       OK ] is_late
[==========] 4 test(s) run.
"""
CMOCKA_ERR = """[  FAILED  ] breaks
[  SKIPPED ] waits
[  PASSED  ] 2 test(s).
[  SKIPPED ] 1 test(s), listed below:
[  SKIPPED ] waits
[  FAILED  ] 1 test(s), listed below:
[  FAILED  ] breaks
"""


def cases(result, stdout="", stderr=""):
    return summary.cases({"result": result, "stdout": stdout, "stderr": stderr})


class Cases(unittest.TestCase):
    def test_silent_program_is_one_case(self):
        self.assertEqual((1, 0, 0), cases("OK"))
        self.assertEqual((0, 1, 0), cases("FAIL"))
        self.assertEqual((0, 1, 0), cases("TIMEOUT"))

    def test_exit_77_is_skipped_whatever_it_printed(self):
        self.assertEqual((0, 0, 1), cases("SKIP", CMOCKA_OUT))

    def test_cmocka_cases_are_counted_once(self):
        self.assertEqual((2, 1, 1), cases("FAIL", CMOCKA_OUT, CMOCKA_ERR))

    def test_cmocka_cut_short_has_failed_once_more(self):
        cut = CMOCKA_OUT.replace("[==========] 4 test(s) run.\n", "")
        self.assertEqual((2, 2, 1), cases("FAIL", cut, CMOCKA_ERR))

    def test_unittest_cases_are_counted(self):
        text = "Ran 9 tests in 0.1s\n\nFAILED (failures=1, errors=2, skipped=3)\n"
        self.assertEqual((3, 3, 3), cases("FAIL", "", text))
        self.assertEqual((9, 0, 0), cases("OK", "", "Ran 9 tests in 0.1s\n\nOK\n"))

    def test_own_line_is_believed_unless_the_end_was_bad(self):
        self.assertEqual((7, 0, 2), cases("OK", "7 passed, 0 failed, 2 skipped\n"))
        self.assertEqual((7, 1, 2), cases("ERROR", "7 passed, 0 failed, 2 skipped\n"))


class Total(unittest.TestCase):
    def run_on(self, log):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "log.json")
            with open(path, "w", encoding="utf-8") as file:
                file.write(log)
            return subprocess.run([sys.executable, SUMMARY, f"build={path}"], check=False,
                                  capture_output=True, text=True)

    def test_last_line_is_the_total_alone(self):
        done = self.run_on('{"name": "a", "result": "OK", "duration": 1.0, "stdout": ""}\n'
                           '{"name": "b", "result": "FAIL", "duration": 2.0, "stdout": ""}\n')
        self.assertEqual("1 passed, 1 failed, 0 skipped", done.stdout.splitlines()[-1])
        self.assertEqual(1, done.returncode)

    def test_nothing_that_ran_is_a_failure(self):
        done = self.run_on("")
        self.assertEqual("0 passed, 1 failed, 0 skipped", done.stdout.splitlines()[-1])
        self.assertEqual(1, done.returncode)


if __name__ == "__main__":
    unittest.main(verbosity=2)
