"""Two executors of one thread: against the peers' two workers, and against what the machine could give at most."""

from ..comparison import IMAGES
from ..contest import Contestant, Sample, hold
from ..lockstep import Job
from ..peers import Work
from ..processes import in_threads
from ..section import Section

GOAL = 1.5
SCALING_GOAL = 0.97
GLOBAL_BATCH = 128
METHOD = """Two CPUs, one for each worker. Lockstep: global batch 128, so 4 micro-batches of 16 an executor and
step. Peers: the better of 16 and 64 images a worker and step; PyTorch DDP over gloo in channels_last, TensorFlow's
MultiWorkerMirroredStrategy. The ceiling is two processes that do not know of each other, at the same time."""
TWICE_LOCKSTEP = "Lockstep 1 x 1, twice at once"
TWICE_PYTORCH = "PyTorch 1 x 1, 64, twice at once"


def measure(context):
    section = Section("Two executors, one thread each", METHOD)
    job = Job(context.seconds, global_batch=GLOBAL_BATCH)
    two = Job(context.seconds, executors=2, global_batch=GLOBAL_BATCH)
    train, pytorch, tensorflow = context.lockstep.train, context.peers.pytorch, context.peers.tensorflow
    contestants = [
        Contestant("Lockstep 1 x 1", lambda: train(job)),
        Contestant("Lockstep 2 x 1", lambda: train(two)),
        Contestant(TWICE_LOCKSTEP, lambda: twice(context, train, job)),
    ]
    distributed = []
    for batch in (16, 64):
        work = Work(context.seconds, workers=2, batch=batch)
        distributed += [
            Contestant(f"PyTorch DDP, {batch} a worker", lambda work=work: pytorch(work), "peer"),
            Contestant(f"TensorFlow MWMS, {batch} a worker", lambda work=work: tensorflow(work), "peer"),
        ]
    contestants += distributed
    alone = Work(context.seconds, batch=64)
    if not context.quick:
        contestants += [
            Contestant("PyTorch 1 x 1, 64", lambda: pytorch(alone)),
            Contestant(TWICE_PYTORCH, lambda: twice(context, pytorch, alone)),
        ]
    outcome = section.take(hold(section.title, contestants, context.rounds))

    def compare(title, name, peers, goal=None):
        section.compare(title, IMAGES, outcome.values(name), {key: got for key, got in peers.items() if got}, goal)

    def doubled(name):
        return [2 * value for value in outcome.values(name)]

    compare("two executors", "Lockstep 2 x 1", outcome.group(*(one.name for one in distributed)), GOAL)
    ceiling, twice_one = {"ceiling": outcome.values(TWICE_LOCKSTEP)}, {"2 x one": doubled("Lockstep 1 x 1")}
    compare("two executors, of two independent processes", "Lockstep 2 x 1", ceiling, SCALING_GOAL)
    compare("two executors, of twice one", "Lockstep 2 x 1", twice_one, SCALING_GOAL)
    compare("two independent processes, of twice one", TWICE_LOCKSTEP, twice_one)
    if not context.quick:
        name = "PyTorch DDP, 64 a worker"
        compare("PyTorch's two workers, of two independent", name, {"ceiling": outcome.values(TWICE_PYTORCH)})
        compare("PyTorch's two workers, of twice one", name, {"2 x one": doubled("PyTorch 1 x 1, 64")})
    share = outcome.detail("Lockstep 2 x 1", "waitedShare")
    if share is not None and section.comparisons:
        section.comparisons[0].notes.append(f"an executor waits for the other's sums {share:.1%} of the time")
    return section


def twice(context, train, work):
    """Two independent runs at the same time, a CPU each; their rates added."""
    cpus = context.machine.cpus_of(2, 1)
    samples = in_threads([lambda own=own: train(work, cpus=[own]) for own in cpus])
    return Sample(sum(sample.value for sample in samples))
