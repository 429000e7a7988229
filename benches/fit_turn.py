"""Fits the weights of turn taking, with speakers held out.

    sotto bench turn FOLDER... --pauses > pauses.jsonl
    python3 benches/fit_turn.py pauses.jsonl benches/recordings.tsv

Needs numpy. PAUSES has what the models say of every pause; RECORDINGS has a column "file" and a column "speaker", and may
have "set" and "use" (only "in" is used). Pauses of one speaker never stand on both sides of a split.

Prints, for the catalogue's weights and for fitted ones, how well ends are told from pauses (the share of pairs in which
the end looks more like one) and what the silences make of it: how long an end waits, and which pauses are cut off. The
wait is that of the silence alone: evidence is taken to be there in time.
"""

import argparse
import csv
import json
import pathlib
import tomllib

import numpy as np

INPUTS = ["voice", "words", "written"]
CATALOGUE = pathlib.Path(__file__).parent.parent / "models" / "catalogue.toml"
# Probabilities from which a turn counts as over, and the silences that end it then (src/turn/settings.rs).
STEPS = [(0.75, 510), (0.3, 800), (0.1, 850), (0.0, 1250)]
NOT_UNDERSTOOD = 850
# Pauses that count as much as one end in the fit, so that a probability means the same whatever was recorded.
PAUSES_PER_END = 5.0
# The share of ends that is to count as over at once. The bias is set by it, so that fits are compared at the same wait.
SHORT = 0.75
# A shorter pause ends no turn, and is over before all models have said something.
SHORTEST = 200
RIDGES = [0.0, 0.01, 0.1]
RESAMPLES = 200


class Pauses:
    """Pauses of some recordings, as columns. A missing input is NaN."""

    def __init__(self, rows):
        self.rows = rows
        column = lambda name, kind: np.array([row[name] for row in rows], dtype=kind)
        self.file, self.speaker, self.kind = (column(name, object) for name in ["file", "speaker", "kind"])
        self.inputs = np.array([[row[name] for name in INPUTS] for row in rows], dtype=float).reshape(-1, 3)
        self.understood, self.silence = column("understood", bool), column("silence_ms", float)
        self.end = self.kind == "end"

    def where(self, chosen):
        return Pauses([row for row, is_chosen in zip(self.rows, chosen) if is_chosen])

    def complete(self):
        return self.where(self.understood & ~np.isnan(self.inputs).any(axis=1))


class Weights:
    def __init__(self, factors, bias, missing):
        self.factors, self.bias, self.missing = np.array(factors), float(bias), np.array(missing)

    def over(self, pauses):
        """Probabilities that a turn is over. Where nothing was understood there is none: NaN."""
        inputs = np.where(np.isnan(pauses.inputs), self.missing, pauses.inputs)
        return np.where(pauses.understood, sigmoid(inputs @ self.factors + self.bias), np.nan)

    def as_toml(self, models):
        names = "".join(f'{key} = "{name}"\n' for key, name in models.items() if name is not None)
        each = [f"{n} = {{ factor = {f:.2f}, missing = {m:.1f} }}" for n, f, m in zip(INPUTS, self.factors, self.missing)]
        return f"[[turn_weights]]\n{names}weights = {{ bias = {self.bias:.2f}, {', '.join(each)} }}\n"


def sigmoid(x):
    return 1 / (1 + np.exp(-np.clip(x, -50, 50)))


def log_odds(p):
    return np.log(p / (1 - p))


def balance(end):
    """Each row's share of the loss."""
    pauses = max(np.sum(~end), 1)
    each = np.where(end, 1 / max(np.sum(end), 1), PAUSES_PER_END / pauses)
    return each / each.sum()


def fit(pauses, ridge=0.0, used=(True, True, True)):
    """Logistic regression by Newton's method, the ridge on the factors alone; the bias is set by the ends' share."""
    known = pauses.complete()
    inputs = known.inputs * np.array(used)
    x = np.column_stack([inputs, np.ones(len(inputs))])
    share, target = balance(known.end), known.end.astype(float)
    penalty = np.diag([ridge + 1e-9] * 3 + [0])
    theta = np.zeros(4)
    for _ in range(50):
        p = sigmoid(x @ theta)
        slope = x.T @ (share * (p - target)) + penalty @ theta
        theta -= np.linalg.solve((x * (share * p * (1 - p))[:, None]).T @ x + penalty, slope)
    missing = [best_constant(known, theta, n) if used[n] else 0.0 for n in range(3)]
    weights = Weights(theta[:3], theta[3], missing)
    ends = weights.over(pauses.where(pauses.end & pauses.understood))
    weights.bias += log_odds(STEPS[0][0]) - np.quantile(log_odds(ends), 1 - SHORT)
    return weights


def best_constant(known, theta, n):
    """The value of input n that explains best, with the other inputs, what is an end."""
    share, rest = balance(known.end), np.delete(known.inputs, n, 1) @ np.delete(theta[:3], n) + theta[3]

    def loss(value):
        p = np.clip(sigmoid(rest + theta[n] * value), 1e-9, 1 - 1e-9)
        return -np.sum(share * np.where(known.end, np.log(p), np.log(1 - p)))

    return min(np.arange(-6, 6.01, 0.1), key=loss)


def held_out(pauses, folds, **how):
    """Probabilities of each pause by weights that were fitted without its speaker."""
    over = np.full(len(pauses.rows), np.nan)
    for speakers in folds:
        aside = np.isin(pauses.speaker, list(speakers))
        over[aside] = fit(pauses.where(~aside), **how).over(pauses.where(aside))
    return over


def folds_of(pauses, count):
    """Speakers in folds of about as many recordings."""
    recordings = {}
    for file, speaker in zip(pauses.file, pauses.speaker):
        recordings.setdefault(speaker, set()).add(file)
    folds = [[0, set()] for _ in range(count)]
    for speaker, files in sorted(recordings.items(), key=lambda item: (-len(item[1]), item[0])):
        fold = min(folds, key=lambda fold: fold[0])
        fold[0] += len(files)
        fold[1].add(speaker)
    return [speakers for _, speakers in folds]


def pairs_right(over, end, other):
    ends, others = over[end & ~np.isnan(over)], over[other & ~np.isnan(over)]
    if not (len(ends) and len(others)):
        return float("nan")
    above = (ends[:, None] > others[None, :]).mean()
    return above + 0.5 * (ends[:, None] == others[None, :]).mean()


def interval(over, pauses):
    """Bounds the share of right pairs: 95 of 100 samples of as many speakers lie within."""
    random = np.random.default_rng(1)
    rows = {speaker: np.flatnonzero(pauses.speaker == speaker) for speaker in sorted(set(pauses.speaker))}
    each = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([rows[speaker] for speaker in random.choice(list(rows), len(rows))])
        each.append(pairs_right(over[drawn], pauses.end[drawn], ~pauses.end[drawn]))
    return np.nanpercentile(each, [2.5, 97.5])


def wait(over):
    silence = np.full(len(over), float(NOT_UNDERSTOOD))
    for least, needed in reversed(STEPS):
        silence[over >= least] = needed
    return silence


def report(name, over, pauses, floor=0):
    """One line of the table. A pause put in is cut off if 600 ms of silence would be."""
    waits = np.maximum(wait(over), floor)
    own, made = pauses.kind == "own", pauses.kind == "made"
    cut = own & (pauses.silence > waits)
    p50, p95 = np.percentile(waits[pauses.end], [50, 95])
    mean = waits[pauses.end].mean()
    files = len(set(pauses.file))
    low, high = interval(over, pauses)
    print(
        f"{name:<40}{pairs_right(over, pauses.end, ~pauses.end):>7.3f} {low:.2f}-{high:.2f}{pairs_right(over, pauses.end, own):>7.3f}"
        f"{np.mean(waits[pauses.end] <= 510):>8.0%}{p50:>6.0f}{mean:>6.0f}{p95:>6.0f}"
        f"{len(set(pauses.file[cut])):>5}/{files:<5}{np.mean(waits[made] < 600) if made.any() else 0:>6.1%}"
    )


def head(title, pauses):
    counts = {kind: int(np.sum(pauses.kind == kind)) for kind in ["end", "own", "made"]}
    print(f"\n{title}: {counts['end']} ends, {counts['own']} own pauses, {counts['made']} made, "
          f"{len(set(pauses.speaker))} speakers, {len(pauses.rows) - len(pauses.complete().rows)} incomplete")
    print(f"{'':<40}{'pairs':>7}{'95 %':>10}{'own':>7}{'short':>8}{'p50':>6}{'mean':>6}{'p95':>6}{'own cut':>10}{'made':>8}")


def read(path, recordings):
    """The models, and the pauses of recordings that are in."""
    about = {}
    with open(recordings, newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row.get("use", "in") == "in":
                name = pathlib.PurePath(row["file"]).name
                speaker = row["speaker"] if row["speaker"] != "-" else name
                about[name] = {"speaker": speaker, "set": row.get("set", "all")}
    with open(path) as file:
        models, *rows = [json.loads(line) for line in file]
    long = [row for row in rows if row["silence_ms"] >= SHORTEST]
    return models, [row | about[row["file"]] for row in long if row["file"] in about]


def listed(models):
    """The catalogue's weights for these models, or else the first: those it falls back to."""
    table = tomllib.loads(CATALOGUE.read_text())["turn_weights"]
    same = [entry for entry in table if all(entry.get(key) == name for key, name in models.items())]
    weights = (same or table)[0]["weights"]
    inputs = [weights[name] for name in INPUTS]
    return Weights([i["factor"] for i in inputs], weights["bias"], [i["missing"] for i in inputs]), bool(same)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("pauses")
    options.add_argument("recordings")
    options.add_argument("--folds", type=int, default=10)
    options.add_argument("--write", metavar="PREFIX", help="write the weights of each fold, fitted without its speakers, "
                         "to PREFIX-N.toml, and the recordings that they may be tried on to PREFIX-N.files")
    options = options.parse_args()
    models, rows = read(options.pauses, options.recordings)
    everything = Pauses(rows)
    folds = folds_of(everything, options.folds)
    now, are_listed = listed(models)
    sets = sorted({row["set"] for row in rows})
    for name in sets:
        part = Pauses([row for row in rows if row["set"] == name])
        head(f"set {name}", part)
        report("catalogue" if are_listed else "catalogue, of other models", now.over(part), part)
        for other in [other for other in sets if other != name]:
            weights = fit(Pauses([row for row in rows if row["set"] == other]))
            report(f"fitted to set {other}", weights.over(part), part)
    head("all sets", everything)
    report("catalogue" if are_listed else "catalogue, of other models", now.over(everything), everything)
    report("the same, 800 ms at least", now.over(everything), everything, floor=800)
    for ridge in RIDGES:
        report(f"fitted, ridge {ridge}, in sample", fit(everything, ridge).over(everything), everything)
        report(f"fitted, ridge {ridge}, speakers held out", held_out(everything, folds, ridge=ridge), everything)
    for n, name in enumerate(INPUTS):
        used = [other == n for other in range(3)]
        report(f"{name} alone, speakers held out", held_out(everything, folds, used=used), everything)
        report(f"without {name}, speakers held out", held_out(everything, folds, used=[not u for u in used]), everything)
    print(f"\nFitted to everything:\n\n{fit(everything).as_toml(models)}")
    for n, speakers in enumerate(folds) if options.write else []:
        aside = np.isin(everything.speaker, list(speakers))
        pathlib.Path(f"{options.write}-{n}.toml").write_text(fit(everything.where(~aside)).as_toml(models))
        files = sorted(set(everything.file[aside]))
        pathlib.Path(f"{options.write}-{n}.files").write_text("".join(f"{file}\n" for file in files))


if __name__ == "__main__":
    main()
