"""TensorBoard's own reader as the other side of the tests of `tracking.tensorBoard` (tests/src/tracking.rs).

    tensorboard_scalars.py FOLDER   prints, as JSON, every scalar of the event files in a run's folder:
                                    {tag: [[step, seconds since 1970, value], ...]}
"""

import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

# 0: all of them, not a sample.
accumulator = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
accumulator.Reload()
tags = accumulator.Tags()["scalars"]
print(json.dumps({tag: [[e.step, e.wall_time, e.value] for e in accumulator.Scalars(tag)] for tag in tags}))
