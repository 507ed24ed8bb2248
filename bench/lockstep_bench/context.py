"""What every row needs to measure."""

from dataclasses import dataclass
from pathlib import Path

from .lockstep import Lockstep
from .machine import Machine
from .peers import Peers


@dataclass
class Context:
    """`seconds` of each run after its warm-up; `quick` leaves out what only says how, not how much."""

    repository: Path
    machine: Machine
    lockstep: Lockstep
    peers: Peers
    rounds: int
    seconds: float
    quick: bool
    cache: Path
    hdfs: Path
    hadoop: Path
    spark: Path
