"""One executor with two threads against one process of a peer with two."""

from ..comparison import IMAGES
from ..contest import Contestant, hold
from ..lockstep import Job
from ..peers import Work
from ..section import Section

GOAL = 1.5
METHOD = """Two CPUs. Lockstep: global batch 128 in micro-batches of 16. Peers: two threads within operations, the
best of 16, 32 and 64 images a step."""


def measure(context):
    section = Section("One executor, two threads", METHOD)
    contestants = [
        Contestant("Lockstep 1 x 2", lambda: context.lockstep.train(Job(context.seconds, threads=2, global_batch=128)))
    ]
    for batch in (16, 32, 64):
        work = Work(context.seconds, threads=2, batch=batch)
        contestants.append(Contestant(f"PyTorch, {batch}", lambda work=work: context.peers.pytorch(work), "peer"))
        contestants.append(Contestant(f"TensorFlow, {batch}", lambda work=work: context.peers.tensorflow(work), "peer"))
    outcome = section.take(hold(section.title, contestants, context.rounds))
    peers = outcome.group(*(contestant.name for contestant in contestants[1:]))
    section.compare("one executor with two threads", IMAGES, outcome.values("Lockstep 1 x 2"), peers, GOAL)
    return section
