"""Makes the seeds of the targets: seeds.py COMMAND, where COMMAND is this repository's rvc-gpu-index. Needs faiss."""

import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import faiss
import numpy as np

SEEDS = Path(__file__).parent / "seeds"
KINDS = [
    "Flat", "L2norm,Flat", "Flat,RFlat", "IVF3,Flat", "IVF30,Flat", "IVF3,Flat,RFlat", "L2norm,IVF3,Flat",
    "PQ2x4fs", "PQ1x4fs", "L2norm,PQ2x4fs", "PQ4x4fs,RFlat",
    "IVF3,PQ2x4fs", "IVF3,PQ2x4fsr", "IVF3,PQ4x4fsr,RFlat", "L2norm,IVF3,PQ2x4fsr,RFlat",
]  # fmt: skip
METRICS = {"l2": faiss.METRIC_L2, "ip": faiss.METRIC_INNER_PRODUCT}

rng = np.random.default_rng(1)
narrow = rng.normal(size=(34, 4)).astype("f4")


def low_rank(rows, d, rank=5):
    """Small whole numbers, in few directions."""
    return (rng.integers(-4, 5, (rows, rank)) @ rng.integers(-1, 2, (rank, d))).astype("f4")


def trained(factory, x, metric=faiss.METRIC_L2):
    index = faiss.index_factory(x.shape[1], factory, metric)
    index.train(x)
    return index


def filled(factory, x, metric=faiss.METRIC_L2, rows=None):
    index = trained(factory, x, metric)
    index.add(x[:rows])
    return index


def ours(command, factory, metric, path):
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/rows.npy", narrow)
        build = f"{command} build {folder}/rows.npy --factory {factory} --metric {metric} --device cpu -q -o {path} --force"
        subprocess.run(build.split(), check=True)


def index_seeds(command, folder):
    def write(name, index):
        faiss.write_index(index, str(folder / f"faiss-{name}.index"))

    for i, kind in enumerate(KINDS):
        name = kind.replace(",", "_")
        for metric in METRICS:
            write(f"{name}-{metric}", filled(kind, narrow, METRICS[metric]))
        metric = list(METRICS)[i % 2]
        ours(command, kind, metric, folder / f"ours-{name}-{metric}.index")

    # Lists that are empty, all of them or most; no training; direct maps; ids of its own and ids that come twice.
    write("sparse", filled("IVF16,Flat", narrow, rows=3))
    write("empty", trained("IVF8,Flat", narrow))
    write("untrained", faiss.index_factory(4, "IVF8,Flat"))
    write("untrained-codes", faiss.index_factory(4, "IVF8,PQ2x4fs"))
    mapped = filled("IVF8,Flat", narrow)
    mapped.make_direct_map()
    write("direct-map", mapped)
    hashed = trained("IVF8,Flat", narrow)
    hashed.add_with_ids(narrow, np.arange(34) * 1000 + 2**40)
    hashed.set_direct_map_type(faiss.DirectMap.Hashtable)
    write("hash-table", hashed)
    merged = filled("IVF8,Flat", narrow)
    merged.add_with_ids(narrow, np.arange(34))
    write("ids-twice", merged)

    # Rows in no list, lists that compare otherwise, and kinds that are not read.
    nowhere = filled("IVF8,Flat", narrow)
    nowhere.add(np.full((2, 4), np.nan, "f4"))
    write("rows-in-no-list", nowhere)
    write("l1", filled("IVF3,Flat", narrow, faiss.METRIC_L1))
    for kind in ["IDMap,Flat", "SQ8", "PQ2x4", "IVF3,PQ2x4", "PCA2,Flat", "HNSW4,Flat"]:
        write(f"unread-{kind.replace(',', '_')}", trained(kind, narrow))

    # As wide as a voice; as many rows, and as many centroids, as are found by their sketches.
    wide = low_rank(17, 256)
    write("wide-flat", filled("IVF2,Flat", wide, rows=5))
    write("wide-codes", filled("IVF2,PQ32x4fsr,RFlat", wide, rows=3))
    for name, index in [
        ("many-rows", filled("Flat", low_rank(260, 128))),
        ("many-lists", filled("IVF257,Flat", low_rank(260, 128), rows=2)),
    ]:
        whole = faiss.serialize_index(index).tobytes()
        (folder / f"faiss-{name}.index.gz").write_bytes(gzip.compress(whole, mtime=0))


def npy_seeds(folder):
    for dtype in ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"]:
        np.save(folder / f"{'big' if dtype[0] == '>' else 'little'}-{dtype[1:]}.npy", narrow[:5].astype(dtype))
    np.save(folder / "fortran.npy", np.asfortranarray(narrow[:6]))
    np.save(folder / "integers.npy", np.arange(6).reshape(2, 3))
    np.save(folder / "wide.npy", low_rank(3, 768).astype("f2"))
    np.save(folder / "not-finite.npy", np.array([[1, np.nan], [np.inf, 2], [3, 4]], "f4"))
    for version in [(2, 0), (3, 0)]:
        with open(folder / f"version-{version[0]}.npy", "wb") as file:
            np.lib.format.write_array(file, narrow[:3], version=version)


def factory_seeds(folder):
    texts = KINDS + ["IVF,PQx4fs,Refine(Flat)", "IVF64k,Flat", "IVF2M,Flat", "4sqrt", "3,3", "2026-11-22T14:03:05Z"]
    for i, text in enumerate(texts):
        (folder / f"{i:02}.txt").write_text(text)


def result_seeds(command, folder):
    """One figure of each sort that a quick run measures."""
    with tempfile.TemporaryDirectory() as out:
        bench = f"{command} bench --quick --quiet --skip-selftest --device cpu -o {out}"
        subprocess.run(bench.split(), check=True)
        result = json.loads(next(Path(out).glob("*.json")).read_text())
    result["command"] = "rvc-gpu-index bench --quick"

    def write(name):
        (folder / f"{name}.json").write_text(json.dumps(result, separators=(",", ":")))

    device = result["devices"][0]
    for figures in ["stages", "builds", "live", "searches"]:
        device[figures] = device[figures][:1]
    write("one-device")
    device["selftest"] = {"passed": 3, "failed": 1, "first_failure": None}
    device["error"], device["warnings"] = "lost", ["on battery"]
    result["devices"].append(json.loads(json.dumps(device)) | {"ceilings": None})
    result["devices"][1]["info"]["selector"] = "gpu:0"
    write("two-devices")


def main():
    command = sys.argv[1]
    for target in ["index", "npy", "factory", "result"]:
        (SEEDS / target).mkdir(parents=True, exist_ok=True)
        for old in (SEEDS / target).iterdir():
            old.unlink()
    index_seeds(command, SEEDS / "index")
    npy_seeds(SEEDS / "npy")
    factory_seeds(SEEDS / "factory")
    result_seeds(command, SEEDS / "result")


main()
