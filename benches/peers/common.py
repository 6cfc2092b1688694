"""What the scripts here share. Nothing of it imports numpy before it is called: threads are set first."""

import json
import platform
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def read_voice(voice):
    """All rows of an experiment folder, a folder of .npy files, or one such file."""
    import numpy as np

    files = [voice] if voice.is_file() else sorted(voice.glob("3_feature*/*.npy")) or sorted(voice.glob("*.npy"))
    if not files:
        raise SystemExit(f"{voice}: has no .npy files in it")
    return np.concatenate([np.load(file) for file in files]).astype(np.float32, copy=False)


def rvc_nlist(rows):
    """RVC's number of lists."""
    return max(1, min(int(16 * rows**0.5), rows // 39))


def mean_squared_distance(rows, centroids):
    """Of all rows to their nearest centroids, as faiss finds it."""
    import faiss
    import numpy as np

    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(np.ascontiguousarray(centroids, dtype=np.float32))
    parts = (rows[first : first + 8192] for first in range(0, len(rows), 8192))
    return float(sum(index.search(part, 1)[0].sum(dtype=np.float64) for part in parts) / len(rows))


def machine():
    """The CPU's name."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def blas():
    """The kernels that each BLAS library here takes, or None where threadpoolctl is not installed: older ones do not know
    newer CPUs and take far slower ones, unless OPENBLAS_CORETYPE names better ones."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return None
    libraries = (library for library in threadpool_info() if library["user_api"] == "blas")
    return {Path(library["filepath"]).name: library.get("architecture") for library in libraries}


def write_record(path, **figures):
    """Figures as JSON, with what they were measured on."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    facts = {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
        "machine": machine(),
        "blas": blas(),
    }
    path.write_text(json.dumps(facts | figures, indent=1) + "\n")
