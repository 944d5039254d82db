# SPDX-License-Identifier: Apache-2.0
"""debian_packages: clients that Debian 12 has too old, from the mirror this machine uses, by name and sum.

They are fetched once a build into its folder `debian` and unpacked there, not installed; a machine that
cannot reach a mirror says so. dalli speaks meta from 3.2 on: Debian 12 has 3.0.6, Debian 13 has 3.2.8.
"""
import fcntl
import glob
import os
import subprocess

RUBY_DALLI = ("pool/main/r/ruby-dalli/ruby-dalli_3.2.8-2_all.deb",
              "4ac34bb41217ca5260f67e7030272acbd062dc56fd687944b394ca8e5c3d5503")
HELPER = "/usr/lib/apt/apt-helper"
FETCH_SECONDS = 60


class Unreachable(Exception):
    pass


def fetch(package):
    """The folder in which the package lies unpacked."""
    path, _ = package
    folder = os.environ["DEBIAN_FOLDER"]
    os.makedirs(folder, exist_ok=True)
    unpacked = os.path.join(folder, os.path.basename(path).removesuffix(".deb"))
    with open(os.path.join(folder, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(unpacked):
            unpack(package, unpacked)
    return unpacked


def unpack(package, unpacked):
    path, digest = package
    if not os.path.exists(HELPER):
        raise Unreachable(f"{os.path.basename(path)}: there is no apt here to fetch it")
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"]
    mirrors = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    if not mirrors:
        raise Unreachable("apt knows no mirror of Debian")
    archive = unpacked + ".deb"
    run([HELPER, "download-file", mirrors[0].rstrip("/") + "/" + path, archive, "SHA256:" + digest])
    run(["dpkg-deb", "--extract", archive, unpacked + ".part"])
    os.rename(unpacked + ".part", unpacked)


def run(command):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        raise Unreachable(f"the mirror of Debian did not answer within {FETCH_SECONDS} s")
    if done.returncode != 0:
        raise Unreachable(f"{os.path.basename(command[0])}: {done.stderr.strip()[-500:]}")


def ruby_library(package):
    """The folder of its gem's code, for RUBYLIB."""
    [library] = glob.glob(os.path.join(fetch(package), "usr/share/rubygems-integration/all/gems/*/lib"))
    return library
