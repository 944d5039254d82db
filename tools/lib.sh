# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# lib: what ./run, ./test, ./dev and the scripts beside this file share. Source it after
# `set -euo pipefail`; it moves to the root of the checkout.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

jobs_max=$(nproc)

# Headings and notes go to standard error: standard output belongs to the program or the result.
say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "${0##*/}: $*"
    exit 1
}

usage_error() {
    say "${0##*/}: $*"
    exit 2
}

# build_dir NAME [meson flags]: make build/NAME once, and again when its flags change.
build_dir() {
    local name=$1
    shift
    local wanted="CC=${CC:-} $*" made=build/$name/.flags
    if [[ -f $made && $(<"$made") == "$wanted" ]]; then
        return
    fi
    rm -rf "build/$name"
    mkdir -p build
    say "== configure build/$name"
    if ! meson setup "build/$name" "$@" >"build/$name.log" 2>&1; then
        cat "build/$name.log" >&2
        say "${0##*/}: meson could not configure build/$name"
        return 1
    fi
    mv "build/$name.log" "build/$name/configure.log"
    printf '%s\n' "$wanted" >"$made"
}

# compile NAME [targets]: bring build/NAME up to date; silent when it is.
compile() {
    local name=$1 out
    shift
    # -n answers in milliseconds, so that a start with nothing to do says nothing.
    if out=$(ninja -C "build/$name" -n "$@" 2>&1) && [[ $out == *"no work to do"* ]]; then
        return
    fi
    say "== build/$name"
    ninja -C "build/$name" -j "$jobs_max" "$@" >&2
}

# The builds, each described once. They return non-zero, having said why, when they do not compile.
build_release() {
    # A newer compiler than Debian 12's may warn of more: that is no reason not to serve.
    build_dir release -Dbuildtype=release -Db_lto=true -Dwerror=false -Dtests=false -Dbench=false &&
        compile release
}

build_bench() {
    build_dir bench -Dbuildtype=release -Db_lto=true -Dtests=false &&
        compile bench
}

build_asan() {
    build_dir asan -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Dhooks=true \
        -Dbench=false &&
        compile asan
}

build_tsan() {
    build_dir tsan -Dbuildtype=debugoptimized -Db_sanitize=thread -Dhooks=true -Dbench=false &&
        compile tsan
}

build_fuzz() {
    CC=clang build_dir fuzz -Dbuildtype=debugoptimized -Db_sanitize=address,undefined \
        -Db_lundef=false -Dhooks=true -Dfuzz=true -Dtests=false -Dbench=false &&
        compile fuzz
}

# Everything, as strictly as each compiler can look at it, without a sanitizer.
build_gcc() {
    CC=gcc build_dir gcc -Dbuildtype=release &&
        compile gcc
}

build_clang() {
    CC=clang build_dir clang -Dbuildtype=release &&
        compile clang
}
