#!/bin/sh
# Installs what only the tests need: a sound server without a sound card (PulseAudio, and ALSA's plugin for it). Debian and
# Ubuntu only, and nothing that is there already; without it the tests of real audio streams say that they were not run.
set -eu

command -v apt-get >/dev/null 2>&1 || exit 0

missing=""
command -v pulseaudio >/dev/null 2>&1 || missing="$missing pulseaudio"
command -v pactl >/dev/null 2>&1 || missing="$missing pulseaudio-utils"
ls /usr/lib/*/alsa-lib/libasound_module_pcm_pulse.so >/dev/null 2>&1 || missing="$missing libasound2-plugins"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    root=""
elif command -v sudo >/dev/null 2>&1; then
    root=sudo
else
    echo "setup-tests: root is needed to install$missing; the tests of real audio streams will not run" >&2
    exit 0
fi
echo "setup-tests: installing$missing" >&2
# shellcheck disable=SC2086 # the lists are meant to be split
$root apt-get update -qq &&
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing ||
    echo "setup-tests: that failed; the tests of real audio streams will not run" >&2
