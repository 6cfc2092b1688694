#!/usr/bin/env python3
"""How this engine's times grow with rows, width and threads.

usage: scaling.py VOICE_DIR... [--rows 30000,60000,120000,240000,378000] [--nlist 1024] [--threads 1,2]
                  [--device SELECTOR] [--repeat N] [--json FILE] [--svg FILE]

Needs numpy, `cargo build --release --benches` first, and matplotlib for --svg. Indexes hold a voice's first N rows, once
with RVC's number of lists and once with --nlist; the 2,000 queries are rows that no index holds, drawn at random, so
the longest index has that many fewer than the voice. Builds are the best of the repeats; searches are the best of
nine, those of 16 queries of 99. Training goes by the rows that k-means takes: at most 256 a list. Exponents are fitted
by least squares of the logarithms.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from common import ROOT, read_voice, write_record


def numbers(text):
    return [int(number) for number in text.split(",")]


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("voices", type=Path, nargs="+")
parser.add_argument("--rows", type=numbers, default=[30_000, 60_000, 120_000, 240_000, 378_000])
parser.add_argument("--nlist", type=int, default=1024)
parser.add_argument("--threads", type=numbers, default=[1, 2])
parser.add_argument("--device", default="cpu")
parser.add_argument("--repeat", type=int, default=1)
parser.add_argument("--json", type=Path)
parser.add_argument("--svg", type=Path)
args = parser.parse_args()
if args.svg:
    try:
        import matplotlib
    except ImportError:
        parser.error("--svg: matplotlib draws it; install that, or leave --svg out")
    matplotlib.use("svg")
    from matplotlib import pyplot

QUERIES = 2000


def split(voice):
    """A voice's rows, and queries that are not among them."""
    rows = read_voice(voice)
    drawn = np.zeros(len(rows), dtype=bool)
    drawn[np.random.default_rng(1).choice(len(rows), min(QUERIES, len(rows) // 2), replace=False)] = True
    return rows[~drawn], rows[drawn]


def run(threads, *command):
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
    done = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True, cwd=ROOT, env=environment)
    return json.loads(done.stdout)


def build(folder, threads, factory):
    command = [ROOT / "target/release/rvc-gpu-index", "build", folder / "voice.npy", "-o", folder / "voice.index"]
    command += ["--factory", factory, "--device", args.device, "--force", "--json", "--quiet"]
    reports = [run(threads, *command) for _ in range(args.repeat)]
    seconds = {key: min(report["seconds"][key] for report in reports) for key in ("train", "add")}
    return reports[0], seconds


def search(folder, threads):
    """Seconds of all queries and of 16, of an index as it was built."""
    command = ["cargo", "bench", "-q", "--bench", "search", "--", folder / "voice.index", folder / "queries.npy"]
    report = run(threads, *command, args.device)
    return {f"{report['queries']} queries": report["seconds"]["best"], "16 queries": report["seconds of 16"]["best"]}


def measure(folder, threads, rows):
    """One point of each curve; what lies under `work` is what its seconds are expected to grow with."""
    n, d = rows.shape
    np.save(folder / "voice.npy", rows)
    points = []
    rules = {"RVC's nlist": "IVF,Flat", f"nlist {args.nlist}": f"IVF{args.nlist},Flat", "Flat": "Flat"}
    for rule, factory in rules.items():
        if factory == "Flat":
            build(folder, threads, factory)
            seconds = {f"exact, {name}": of for name, of in search(folder, threads).items()}
            work = dict.fromkeys(seconds, n)
        elif n < args.nlist:
            continue
        else:
            report, built = build(folder, threads, factory)
            searched = {f"nprobe 1, {name}": of for name, of in search(folder, threads).items()}
            seconds = built | searched
            nlist = report["nlist"]
            # A search compares a query with the centroids and, in one list, with as many rows as there are in it.
            work = {"train": report["training"]["rows"] * nlist, "add": n * nlist}
            work |= dict.fromkeys(searched, nlist + n / nlist)
        for name, of in seconds.items():
            points.append(
                {"d": d, "threads": threads, "lists": rule, "rows": n, "what": name, "work": work[name], "seconds": of}
            )
    return points


def curves(points):
    """The points of each curve, the fewest rows first."""
    found = {}
    for point in points:
        found.setdefault(tuple(point[key] for key in ("what", "lists", "d", "threads")), []).append(point)
    return found


def exponent(points):
    """Of seconds against work; none where the work is the same everywhere."""
    work, seconds = (np.log([point[key] for point in points]) for key in ("work", "seconds"))
    return float(np.polyfit(work, seconds, 1)[0]) if np.ptp(work) > 0 else None


def draw(found):
    names = sorted({what for what, *_ in found})
    columns = 3
    figure, panels = pyplot.subplots(-(-len(names) // columns), columns, figsize=(15, 10), squeeze=False)
    for name, panel in zip(names, panels.flat):
        for (what, lists, d, threads), points in found.items():
            if what == name:
                label = f"{lists}, {d}-d, {threads} thread{'s' if threads > 1 else ''}"
                panel.loglog([p["rows"] for p in points], [p["seconds"] for p in points], "o-", label=label)
        panel.set(title=name, xlabel="rows", ylabel="seconds")
        rows = sorted({p["rows"] for (what, *_), points in found.items() if what == name for p in points})
        # Voices that end nearly together share a tick.
        ticks = [n for n, after in zip(rows, [*rows[1:], float("inf")]) if after > 1.05 * n]
        panel.set_xticks(ticks, [f"{n // 1000}k" for n in ticks])
        panel.minorticks_off()
        panel.legend(fontsize="x-small")
        panel.grid(alpha=0.3)
    for panel in panels.flat[len(names) :]:
        panel.set_axis_off()
    figure.tight_layout()
    figure.savefig(args.svg)


def main():
    points = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for voice in args.voices:
            rows, queries = split(voice)
            np.save(folder / "queries.npy", queries)
            for n in sorted({min(n, len(rows)) for n in args.rows}):
                for threads in args.threads:
                    points += measure(folder, threads, rows[:n])

    found = curves(points)
    print(f"{'':28} {'lists':14} {'d':>5} {'threads':>7} {'exponent':>8}   seconds by rows")
    exponents = []
    for (what, lists, d, threads), curve in found.items():
        power = exponent(curve)
        exponents.append({"what": what, "lists": lists, "d": d, "threads": threads, "exponent": power})
        seconds = ", ".join(f"{point['rows']}: {point['seconds']:.5f}" for point in curve)
        print(f"{what:28} {lists:14} {d:5} {threads:7} {'' if power is None else f'{power:.3f}':>8}   {seconds}")
    print("exponents are against rows x nlist (train and add), nlist + rows / nlist (nprobe 1), rows (exact)")
    if args.svg:
        draw(found)
    if args.json:
        write_record(args.json, device=args.device, repeat=args.repeat, exponents=exponents, points=points)


if __name__ == "__main__":
    main()
