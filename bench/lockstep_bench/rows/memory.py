"""Most memory of a process that trains on 10,000 images that it holds."""

from ..comparison import MEGABYTES
from ..contest import Contestant, Sample, hold
from ..lockstep import Job
from ..peers import Work
from ..section import Section

GOAL = 2.0
IMAGES = 10_000
BATCH = 16
ROUNDS = 2
METHOD = f"""VmHWM at the end of one pass over {IMAGES:,} images of 32x32x3, batch {BATCH}, one thread; both hold
the images as bytes. Lockstep's executor also writes a checkpoint and the result. PyPI has PyTorch for Linux only
with CUDA: what is resident of CUDA's libraries is subtracted, as its users on CPUs could have a build without."""


def measure(context):
    section = Section("Peak memory of an executor", METHOD)
    work = Work(context.seconds, batch=BATCH, images=IMAGES, steps=IMAGES // BATCH)

    def peak(sample, key):
        return Sample(sample.details[key] / 1e6, sample.details)

    job = Job(data="test", epochs=1)
    contestants = [
        Contestant("Lockstep", lambda: peak(context.lockstep.train(job), "peakBytes")),
        Contestant("PyTorch", lambda: peak(context.peers.pytorch(work), "peakBytesWithoutCuda")),
    ]
    outcome = section.take(hold(section.title, contestants, ROUNDS))
    section.compare("peak memory", MEGABYTES, outcome.values("Lockstep"), outcome.group("PyTorch"), GOAL)
    whole = outcome.detail("PyTorch", "peakBytes")
    if whole and section.comparisons:
        section.comparisons[0].notes.append(f"PyTorch with CUDA's libraries: {whole / 1e6:.0f} MB")
    return section
