"""TFRecords by TensorFlow on one thread: checks every record, then also parses it, and prints bytes a second as a line of JSON.

    tensorflow_records.py FOLDER PASSES

One pass before those that count fills the page cache. Records come in batches, since one by one most time goes into Python.
"""

import json
import sys
import time
from pathlib import Path

import tensorflow

BATCH = 256
FEATURES = {
    "image": tensorflow.io.FixedLenFeature([], tensorflow.string),
    "label": tensorflow.io.FixedLenFeature([], tensorflow.int64),
}


def samples(batch):
    parsed = tensorflow.io.parse_example(batch, FEATURES)
    return tensorflow.io.decode_raw(parsed["image"], tensorflow.uint8), parsed["label"]


def rate(dataset, size, passes):
    options = tensorflow.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    dataset = dataset.with_options(options)

    def drain():
        for _ in dataset:
            pass

    drain()
    start = time.perf_counter()
    for _ in range(passes):
        drain()
    return size * passes / (time.perf_counter() - start)


def main():
    folder, passes = Path(sys.argv[1]), int(sys.argv[2])
    shards = sorted(map(str, folder.glob("*.tfrecord")))
    size = sum(Path(shard).stat().st_size for shard in shards)
    # As large as the pieces in which training reads.
    records = tensorflow.data.TFRecordDataset(shards, buffer_size=1 << 20).batch(BATCH)
    result = {"recordBytesPerSecond": rate(records, size, passes)}
    result["sampleBytesPerSecond"] = rate(records.map(samples), size, passes)
    print(json.dumps(dict(result, version=tensorflow.__version__)))


main()
