#!/bin/sh
# Builds the peer that Sotto's engine is measured against, llama.cpp's llama-bench, and prints where the program lies. A
# second run does nothing twice. The source comes inside the source package of llama-cpp-python, from whatever index the
# machine's own pip is configured for; building it needs cmake and a C++ compiler (scripts/setup.sh) and some minutes.
set -eu

PACKAGE=llama-cpp-python
VERSION=0.3.36
SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
FOLDER=${XDG_CACHE_HOME:-$HOME/.cache}/sotto/peer
SOURCE=$FOLDER/$VERSION
PROGRAM=$SOURCE/build/bin/llama-bench

fail() {
    echo "peer: $1" >&2
    exit 1
}

# pip makes the metadata of what it downloads, for which it fetches the package's build tools into a folder of its own.
fetch() {
    echo "peer: fetching $PACKAGE $VERSION (77 MB)" >&2
    mkdir -p "$FOLDER/fetched"
    python3 -m pip download --quiet --no-input --disable-pip-version-check --no-deps --no-binary "$PACKAGE" \
        --dest "$FOLDER/fetched" "$PACKAGE==$VERSION" >&2 || fail "pip could not fetch $PACKAGE $VERSION"
    archive=$(ls "$FOLDER"/fetched/*"$VERSION".tar.gz)
    python3 - "$archive" "$SHA256" <<'PYTHON' || fail "$archive is not what was pinned; remove it and look why"
import hashlib, pathlib, sys
digest = hashlib.sha256(pathlib.Path(sys.argv[1]).read_bytes()).hexdigest()
sys.exit(0 if digest == sys.argv[2] else f"peer: sha256 is {digest}, expected {sys.argv[2]}")
PYTHON
}

# Unpacks vendor/llama.cpp alone. _tile_loadconfig of GCC 12 says that it reads less than it does, so the compiler drops
# what is written to the configuration and AMX dies with an illegal instruction: the address is made to escape first.
unpack() {
    rm -rf "$SOURCE.part"
    mkdir -p "$SOURCE.part"
    tar -xzf "$archive" -C "$SOURCE.part" --strip-components=3 "$(basename "$archive" .tar.gz)/vendor/llama.cpp"
    amx=$SOURCE.part/ggml/src/ggml-cpu/amx/mmq.cpp
    sed 's/^\( *\)_tile_loadconfig(&tc);/\1__asm__ volatile("" : : "r"(\&tc) : "memory");\n&/' "$amx" >"$amx.cured"
    grep -q '__asm__ volatile("" : : "r"(&tc)' "$amx.cured" || fail "$amx has changed; see what became of the AMX cure"
    mv "$amx.cured" "$amx"
    mv "$SOURCE.part" "$SOURCE"
    rm -r "$FOLDER/fetched"
}

# As its makers would have it for one machine: this processor's own instructions, OpenMP, optimised.
build() {
    echo "peer: building llama-bench, which takes some minutes; the log is $SOURCE/build.log" >&2
    {
        cmake -S "$SOURCE" -B "$SOURCE/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DGGML_OPENMP=ON \
            -DBUILD_SHARED_LIBS=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
            -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_USE_PREBUILT_UI=OFF &&
            cmake --build "$SOURCE/build" --target llama-bench --parallel "$(getconf _NPROCESSORS_ONLN)"
    } >"$SOURCE/build.log" 2>&1 || fail "the build failed; see $SOURCE/build.log"
}

[ -f "$SOURCE/CMakeLists.txt" ] || { fetch && unpack; }
[ -x "$PROGRAM" ] || build
echo "$PROGRAM"
