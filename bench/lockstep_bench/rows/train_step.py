"""One executor with one thread, micro-batch 16: the train step against both engines' best configuration."""

from ..comparison import IMAGES
from ..contest import Contestant, hold
from ..lockstep import Job
from ..peers import Work, layouts
from ..section import Section

GOALS = {"avx512": 1.8, "avx2": 1.5}
BF16_GOAL = 1.0
METHOD = """One CPU for each program, batch 16, an optimizer step after every batch. Lockstep is the whole program:
it reads and checks TFRecords, collects its sums, logs. The peers compute on one random batch that is in memory
already."""


def measure(context):
    section = Section("One executor, one thread", METHOD)
    machine, seconds = context.machine, context.seconds
    isas = machine.isas() or [None]
    best = ours_name(isas[0])
    contestants = [ours(context, isa) for isa in isas]
    libtorch = Job(seconds, kernels="LibTorch")
    contestants.append(Contestant("Lockstep LibTorch", lambda: context.lockstep.train(libtorch)))
    contestants += peers(context, "peer", Work(seconds), "")
    if "avx512" in isas:
        contestants += peers(context, "held to AVX2", Work(seconds, avx2=True), " held to AVX2")
    if machine.has("amx_bf16") or machine.has("avx512_bf16"):
        contestants += pytorch(context, "bf16", Work(seconds, bf16=True), " bf16 autocast")
    outcome = section.take(hold(section.title, contestants, context.rounds))

    def against(title, name, group, goal):
        names = [contestant.name for contestant in contestants if contestant.group == group]
        section.compare(title, IMAGES, outcome.values(name), outcome.group(*names), goal)

    against(f"train step, {isas[0] or 'portable'}", best, "peer", GOALS.get(isas[0]))
    if "avx512" in isas:
        against("train step, avx2, peers held to AVX2", ours_name("avx2"), "held to AVX2", GOALS["avx2"])
    if any(contestant.group == "bf16" for contestant in contestants):
        has_amx = machine.has("amx_bf16")
        against("train step in fp32 against bf16 autocast", best, "bf16", BF16_GOAL if has_amx else None)
        if not has_amx and section.comparisons:
            section.comparisons[-1].notes.append("the goal, 1, is for CPUs with AMX; this one has none")
    against("train step with LibTorch's kernels", "Lockstep LibTorch", "peer", None)
    return section


def ours_name(isa):
    return f"Lockstep Native {isa or 'portable'}"


def ours(context, isa):
    job = Job(context.seconds, isa=isa)
    return Contestant(ours_name(isa), lambda: context.lockstep.train(job))


def pytorch(context, group, work, suffix):
    return [
        Contestant(f"PyTorch {name}{suffix}", lambda work=one: context.peers.pytorch(work), group)
        for name, one in layouts(work).items()
    ]


def peers(context, group, work, suffix):
    tensorflow = Contestant(f"TensorFlow{suffix}", lambda: context.peers.tensorflow(work), group)
    return [*pytorch(context, group, work, suffix), tensorflow]
