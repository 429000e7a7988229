#!/bin/sh
# Installs the system packages that building and running Sotto needs, and nothing that is there already.
set -eu

have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        echo "setup: root is needed to run \"$*\"; run it yourself, then start again" >&2
        exit 1
    fi
}

have cargo || {
    echo "setup: there is no Rust toolchain (cargo); install one, then start again" >&2
    exit 1
}

missing=""
need() { # need COMMAND DEBIAN_PACKAGE HOMEBREW_PACKAGE
    if ! have "$1"; then missing="$missing $([ "$(uname)" = Darwin ] && echo "$3" || echo "$2")"; fi
}
need cmake cmake cmake
need c++ build-essential gcc
need espeak-ng espeak-ng espeak-ng
need python3 python3 python3
python3 -m pip --version >/dev/null 2>&1 || missing="$missing $([ "$(uname)" = Darwin ] && echo python3 || echo python3-pip)"
# Linux alone plays through ALSA; its headers are no command, so pkg-config is asked.
if [ "$(uname)" = Linux ]; then
    need pkg-config pkg-config pkg-config
    pkg-config --exists alsa 2>/dev/null || missing="$missing libasound2-dev"
fi

[ -n "$missing" ] || exit 0
echo "setup: installing$missing" >&2
if [ "$(uname)" = Darwin ]; then
    have brew || {
        echo "setup: Homebrew is needed to install$missing; install it, then start again" >&2
        exit 1
    }
    # shellcheck disable=SC2086 # the list is meant to be split
    brew install $missing
elif have apt-get; then
    as_root apt-get update -qq
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
else
    echo "setup: please install$missing with this system's package manager, then start again" >&2
    exit 1
fi
