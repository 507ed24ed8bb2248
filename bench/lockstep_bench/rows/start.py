"""From the start of the process to the end of the first training step."""

from ..comparison import SECONDS
from ..contest import Contestant, Sample, hold
from ..lockstep import Job
from ..peers import Work
from ..section import Section

GOALS = {"PyTorch": 5.0, "TensorFlow": 10.0}
METHOD = """One CPU, batch 16. From the harness starting the program until its first optimizer step is done, by the
clock that both share. All files are in the page cache. `lockstep run` starts an executor, opens the data set, and
reads its first records from TFRecords; the peers import their library and make random images."""


def measure(context):
    section = Section("Start to first finished step", METHOD)
    # Long enough that the program does not notice that nothing after its first step counts.
    seconds = min(context.seconds, 0.5)
    first = Work(seconds, steps=1)

    def first_step(train):
        sample = train()
        return Sample(sample.details["firstStepSeconds"], sample.details)

    contestants = [
        Contestant("Lockstep", lambda: first_step(lambda: context.lockstep.train(Job(seconds)))),
        Contestant("PyTorch", lambda: first_step(lambda: context.peers.pytorch(first))),
        Contestant("TensorFlow", lambda: first_step(lambda: context.peers.tensorflow(first))),
    ]
    # The first round only fills the page cache.
    outcome = section.take(hold(section.title, contestants, context.rounds + 1))
    ours = outcome.values("Lockstep")[1:]
    for peer, goal in GOALS.items():
        values = outcome.values(peer)[1:]
        section.compare(f"start to first step, {peer}", SECONDS, ours, {peer: values} if values else {}, goal)
    return section
