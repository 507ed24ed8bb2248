"""The trainer's container image, compressed, against the smallest image that runs PyTorch on a CPU."""

import gzip
import os
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

from ..comparison import MEGABYTES
from ..contest import Sample
from ..processes import Failed
from ..section import Section

GOAL = 2.0
METHOD = """Bytes after gzip -6, as registries keep layers. Ours: `scripts/images.sh`, the whole docker archive.
PyTorch's is computed from files: the same Debian base, CPython with its standard library (no tests, IDLE, Tk, pip),
torch without everything of CUDA, headers, tests and tools, and the packages that it imports; libraries stripped.
This is what care could bring such an image to; those that are published are larger."""

# What `import torch` and training on a CPU do without.
LEFT_OUT_OF_TORCH = re.compile(
    r"^torch/(include|bin|testing/_internal|test|share)/|/tests/"
    r"|^torch/lib/lib(torch_cuda|torch_nvshmem|c10_cuda|caffe2_nvrtc)"
    r"|^(nvidia|triton|pip|setuptools|pkg_resources|_distutils_hack|wheel)|^distutils-precedence|[.]lib$|[.]a$"
)
LEFT_OUT_OF_PYTHON = re.compile(
    r"^(site-packages|test|idlelib|tkinter|turtledemo|ensurepip|lib2to3|config-)|/tests?/|_test"
)
LIBRARY = re.compile(r"[.]so([.\d]+)?$")
BYTECODE = "__pycache__"
CHUNK = 1 << 20


def measure(context):
    section = Section("Trainer image, compressed", METHOD)
    values = {}
    for name, size in (("Lockstep", ours), ("PyTorch", pytorch)):
        try:
            values[name] = [size(context) / 1e6]
            section.samples[name] = [Sample(values[name][0]).__dict__]
        except (Failed, OSError, subprocess.CalledProcessError) as error:
            section.failures[name] = str(error)
    peers = {"PyTorch, computed": values["PyTorch"]} if "PyTorch" in values else {}
    section.compare("trainer image", MEGABYTES, values.get("Lockstep", []), peers, GOAL)
    return section


def ours(context):
    # Builds only what has changed.
    script = context.repository / "scripts" / "images.sh"
    done = subprocess.run([script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"scripts/images.sh ended with {done.returncode}: {' '.join(done.stdout[-600:].split())}")
    counter = Counter()
    with gzip.GzipFile(fileobj=counter, mode="wb", compresslevel=6, mtime=0) as packed:
        copy(context.repository / "target" / "images" / "trainer.tar", packed)
    return counter.bytes


def pytorch(context):
    base = context.cache / "images" / "bookworm.tar"
    if not base.is_file():
        raise Failed(f"no {base}: scripts/images.sh makes it")
    folder = Path(context.peers.pytorch_folder)
    counter = Counter()
    with gzip.GzipFile(fileobj=counter, mode="wb", compresslevel=6, mtime=0) as packed:
        copy(base, packed)
        with tarfile.open(fileobj=packed, mode="w|") as archive:
            for root, left_out in python_roots(folder):
                add(archive, root, left_out)
    return counter.bytes


def python_roots(folder):
    """The folders that make up Python and its packages, and what of each is left out."""
    paths = "sysconfig.get_path('stdlib'), sysconfig.get_path('purelib'), sys.executable"
    question = f"import sys, sysconfig; print({paths})"
    answer = subprocess.run([folder / "bin" / "python", "-c", question], stdout=subprocess.PIPE, check=True, text=True)
    library, packages, program = map(Path, answer.stdout.split())
    program = program.resolve()
    roots = [(library, LEFT_OUT_OF_PYTHON), (packages, LEFT_OUT_OF_TORCH), (program, None)]
    return roots + [(shared, None) for shared in program.parent.parent.glob("lib/libpython3*.so.*")]


def add(archive, root, left_out):
    """All files under `root`, or the file itself, by a rule that does not depend on the folder's own place."""
    files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
    for path in files:
        name = path.name if path == root else path.relative_to(root).as_posix()
        if BYTECODE in name or (left_out and left_out.search(name)):
            continue
        add_file(archive, os.path.realpath(path), name)


def add_file(archive, path, name):
    """Libraries without the symbols that only debuggers want, as our program is."""
    if not LIBRARY.search(name):
        archive.add(path, arcname=name, recursive=False)
        return
    with tempfile.TemporaryDirectory(prefix="lockstep-bench-") as folder:
        stripped = os.path.join(folder, "library")
        subprocess.run(["strip", "--strip-unneeded", "-o", stripped, path], stderr=subprocess.DEVNULL, check=False)
        archive.add(stripped if os.path.exists(stripped) else path, arcname=name, recursive=False)


def copy(path, target):
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            target.write(chunk)


class Counter:
    """A file that only counts."""

    def __init__(self):
        self.bytes = 0

    def write(self, data):
        self.bytes += len(data)
        return len(data)

    def flush(self):
        pass
