#!/bin/sh
# Runs the tests of the kernels as code of 64-bit Arm, under emulated processors: one with FEAT_DotProd and FEAT_I8MM, one
# with FEAT_DotProd alone, one with neither. Installs what that takes, saying so. About three minutes.
set -eu

target=aarch64-unknown-linux-gnu
fail() {
    echo "test-neon: $1" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

have cargo || fail "there is no Rust toolchain (cargo); install one, then start again"
if [ ! -d "$(rustc --print target-libdir --target $target)" ]; then
    have rustup || fail "the Rust toolchain lacks the standard library of $target; install it, then start again"
    echo "test-neon: installing the standard library of $target" >&2
    rustup target add $target || fail "\"rustup target add $target\" failed; see above"
fi

missing=""
have aarch64-linux-gnu-gcc && [ -e /usr/aarch64-linux-gnu/lib/libc.so ] ||
    missing="gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
have qemu-aarch64 || missing="$missing qemu-user"
if [ -n "$missing" ]; then
    have apt-get || fail "please install a cross compiler and qemu as on Debian ($missing), then start again"
    root=""
    [ "$(id -u)" = 0 ] || root=sudo
    [ -z "$root" ] || have sudo || fail "root is needed to install $missing; install them, then start again"
    echo "test-neon: installing $missing" >&2
    $root apt-get update -qq
    # shellcheck disable=SC2086 # the list is meant to be split
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing ||
        fail "could not install $missing; see above"
fi

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# SOTTO_KERNELS is what the processor must be able to run; a test looks.
on() { # on PROCESSOR VARIANT
    echo "test-neon: $2 on $1"
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -cpu $1 -L /usr/aarch64-linux-gnu" SOTTO_KERNELS=$2 \
        cargo test --release --locked --quiet -p sotto-kernels --lib --target $target
}
on max neoni8mm
on cortex-a76 neon
on cortex-a72 portable
