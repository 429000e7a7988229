#!/usr/bin/env python3
"""Measures Sotto's engine against llama.cpp on the same weights, in turns, and prints the ratios with their spread.

    benches/llm.py [--threads N] [--alternations N] [--case NAME]... MODEL...

MODEL is a GGUF file or a name of the catalogue. The two programs run one after the other, peer, sotto, peer, sotto, each
in a process of its own that warms up first; a ratio is made of two neighbours, so that what changes slowly on the machine
cancels out. Use it on a machine that does nothing else: the spread says whether it did.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SOTTO = HERE.parent / "target" / "release" / "sotto"
DEPTH = 2048


@dataclasses.dataclass
class Case:
    """One run of each program, and what is read off it."""

    prompt: int
    steps: int
    depth: int
    # "prompt" or "decode", and how the row is called.
    rows: dict
    # Whether the memory of this run is what the table shows.
    resident: bool = False
    # A shell command that runs over and over beside both programs.
    beside: str = ""


# One core that another program keeps busy, and what a conversation does while the answer is still being written.
BUSY = "while :; do :; done"
SPEECH = """
question=$("$SOTTO" models path speech-sample speech.wav) || exit
while "$SOTTO" --quiet transcribe "$question" && "$SOTTO" --quiet say -o "$OUT" "It will be dry and mild until the evening."
do :; done
"""


def cases(steps):
    return {
        "empty": Case(128, steps, 0, {"decode": "decode, empty context", "prompt": "prompt of 128"}, resident=True),
        "prompt": Case(512, 0, 0, {"prompt": "prompt of 512"}),
        "depth": Case(0, steps, DEPTH, {"decode": f"decode at depth {DEPTH}"}),
        "busy": Case(0, steps, 0, {"decode": "decode, another program keeps a core busy"}, beside=BUSY),
        "speech": Case(0, steps, 0, {"decode": "decode beside Whisper and the voice"}, beside=SPEECH),
    }


RESIDENT = "resident, MiB"


def run(command):
    """What a program printed as JSON, and the most memory it held, in bytes."""
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=said)
        printed = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            said.seek(0)
            words = said.read().decode(errors="replace").strip().splitlines()[-5:]
            raise SystemExit(f"llm.py: {command[0]} ended with {child.returncode}: " + "\n".join(words))
    # getrusage(2): Linux counts in KiB, macOS in bytes.
    return json.loads(printed), usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run_peer(program, model, threads, case):
    """llama-bench with its own defaults but for the threads."""
    command = [program, "-m", model, "-t", threads, "-r", 1, "-o", "json"]
    command += ["-p", case.prompt, "-n", case.steps, "-d", case.depth]
    tests, resident = run(command)
    kinds = {"prompt" if test["n_prompt"] else "decode": test["avg_ts"] for test in tests}
    return [kinds[kind] for kind in case.rows], resident


def run_sotto(program, model, threads, case):
    """Both are always measured here, so what is not asked for is made short."""
    command = [program, "--quiet", "bench", "llm", model, "--json", "--threads", threads, "--repeat", 1]
    command += ["-p", max(case.prompt, 1), "-g", max(case.steps, 1), "--depth", case.depth, "--budget", "16GiB"]
    report, resident = run(command)
    return [report[kind]["tokens_per_second"] for kind in case.rows], resident


@contextlib.contextmanager
def beside(command, sotto):
    """Runs a shell command beside what is measured, in a group of its own so that all of it ends."""
    if not command:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "SOTTO": str(sotto), "OUT": os.path.join(folder, "spoken.wav")}
        other = subprocess.Popen(["sh", "-c", command], env=env, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            yield
            if other.poll() is not None:
                raise SystemExit("llm.py: what should run beside has ended; see above")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(other.pid, signal.SIGKILL)
            other.wait()


def alternate(model, chosen, options):
    """The figures of each row: pairs of what the peer and what Sotto did."""
    rows = {}
    for turn in range(options.alternations):
        for case in chosen:
            with beside(case.beside, options.sotto):
                peer, peer_resident = run_peer(options.peer, model, options.threads, case)
                sotto, sotto_resident = run_sotto(options.sotto, model, options.threads, case)
            for name, *pair in zip(case.rows.values(), peer, sotto):
                rows.setdefault(name, []).append(pair)
            if case.resident:
                rows.setdefault(RESIDENT, []).append([peer_resident / 2**20, sotto_resident / 2**20])
        print(f"{model}: {turn + 1} of {options.alternations}", file=sys.stderr)
    return rows


def summary(pairs):
    ratios = [sotto / peer for peer, sotto in pairs]
    peer, sotto = (statistics.median(side) for side in zip(*pairs))
    return {
        "peer": peer,
        "sotto": sotto,
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "pairs": pairs,
    }


def table(model, rows, options):
    """Markdown, so that it can be kept as it is."""
    lines = [
        f"{model}, {options.threads} threads, {options.alternations} alternations",
        "",
        "| tokens/s | llama.cpp | Sotto | ratio | least to most |",
        "|---|---|---|---|---|",
    ]
    # Memory stands last, whatever was measured after it.
    for name in sorted(rows, key=lambda name: name == RESIDENT):
        row = rows[name]
        spread = f"{row['least']:.2f} to {row['most']:.2f}"
        lines.append(f"| {name} | {row['peer']:.1f} | {row['sotto']:.1f} | {row['ratio']:.2f} | {spread} |")
    return "\n".join(lines) + "\n"


def file_of(model, sotto):
    """Both programs are given the same file."""
    if pathlib.Path(model).is_file():
        return model
    found = subprocess.run([sotto, "models", "path", model, "model.gguf"], capture_output=True, text=True)
    if found.returncode != 0:
        raise SystemExit(f"llm.py: {model} is no file, and no model of the catalogue: {found.stderr.strip()}")
    return found.stdout.strip()


def parsed():
    names = list(cases(1))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", metavar="MODEL", help="a GGUF file or a name of the catalogue")
    parser.add_argument("--threads", type=int, default=2, help="of each program (default 2)")
    parser.add_argument("--alternations", type=int, default=5, help="runs of each program (default 5)")
    parser.add_argument("--steps", type=int, default=128, help="tokens of an answer (default 128)")
    parser.add_argument("--case", action="append", choices=names, help="measure only this; may be repeated")
    parser.add_argument("--sotto", type=pathlib.Path, default=SOTTO, help="the program (default: this tree's)")
    parser.add_argument("--peer", type=pathlib.Path, help="llama-bench (default: built by benches/peer.sh)")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write every figure there too")
    options = parser.parse_args()
    if min(options.threads, options.alternations, options.steps) < 1:
        parser.error("--threads, --alternations and --steps must be at least 1")
    return options


def main():
    # So that what runs beside ends when this is told to.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("llm.py: told to end"))
    options = parsed()
    if options.peer is None:
        built = subprocess.run(["sh", HERE / "peer.sh"], stdout=subprocess.PIPE, text=True)
        if built.returncode != 0:
            raise SystemExit(built.returncode)
        options.peer = pathlib.Path(built.stdout.strip())
    chosen = [case for name, case in cases(options.steps).items() if name in (options.case or [name])]
    everything = {}
    for model in options.models:
        file = file_of(model, options.sotto)
        rows = {name: summary(pairs) for name, pairs in alternate(file, chosen, options).items()}
        print(table(model, rows, options), flush=True)
        everything[model] = rows
    if options.json:
        options.json.write_text(json.dumps(everything, indent=2) + "\n")


main()
