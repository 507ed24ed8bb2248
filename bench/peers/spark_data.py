"""What `lockstep prepare` and `lockstep analyze` do, in PySpark: prints the images and the seconds as a line of JSON.

    spark_data.py prepare FOLDER OUT PARTITIONS   CIFAR-10's binary files to TFRecords
    spark_data.py analyze FOLDER OUT PARTITIONS   statistics of TFRecords, to a JSON file

Counted from when the session is up to when everything is written: the start of the JVM is not. A small job before it starts
Spark's Python workers. Prepare makes no digest or statistics, analyze no pictures or report: less than what Lockstep does.
"""

import json
import os
import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession

SIDE, CHANNELS = 32, 3
IMAGE_BYTES = SIDE * SIDE * CHANNELS


def write_shard(out):
    def write(partition, rows):
        import numpy
        from spark_records import example_class, framed

        example, count = example_class(), 0
        path = Path(out, f"train-{partition:05d}.tfrecord")
        with open(path.with_suffix(".new"), "wb") as file:
            for row in rows:
                planes = numpy.frombuffer(row, numpy.uint8, IMAGE_BYTES, 1).reshape(CHANNELS, SIDE, SIDE)
                made = example()
                made.features.feature["image"].bytes_list.value.append(planes.transpose(1, 2, 0).tobytes())
                made.features.feature["label"].int64_list.value.append(row[0])
                file.write(framed(made.SerializeToString()))
                count += 1
            # As Lockstep does: what is reported as written is on the disk.
            file.flush()
            os.fsync(file.fileno())
        os.replace(path.with_suffix(".new"), path)
        yield count

    return write


def prepare(context, folder, out, partitions):
    Path(out).mkdir(parents=True)
    rows = context.binaryRecords(f"file://{folder}/data_batch_*.bin", 1 + IMAGE_BYTES).repartition(partitions)
    return sum(rows.mapPartitionsWithIndex(write_shard(out)).collect())


def statistics(files):
    """Of one partition: images, sums by class, channel and brightness, and a digest of each image for duplicates."""
    import hashlib

    import numpy
    from spark_records import example_class, records

    example = example_class()
    classes, histograms = {}, numpy.zeros((CHANNELS, 256), numpy.int64)
    sums, squares = numpy.zeros(CHANNELS, numpy.int64), numpy.zeros(CHANNELS, numpy.int64)
    brightness, contrast = numpy.zeros(256, numpy.int64), numpy.zeros(129, numpy.int64)
    lowest, highest = numpy.zeros(256, numpy.int64), numpy.zeros(256, numpy.int64)
    digests = []
    for _, shard in files:
        for data in records(shard):
            features = example.FromString(bytes(data)).features.feature
            label, raw = features["label"].int64_list.value[0], features["image"].bytes_list.value[0]
            image = numpy.frombuffer(raw, numpy.uint8).reshape(SIDE * SIDE, CHANNELS)
            classes[label] = classes.get(label, 0) + 1
            wide = image.astype(numpy.int64)
            sums += wide.sum(axis=0)
            squares += (wide * wide).sum(axis=0)
            for channel in range(CHANNELS):
                histograms[channel] += numpy.bincount(image[:, channel], minlength=256)
            brightness[int(image.mean())] += 1
            contrast[int(image.std())] += 1
            lowest[image.min()] += 1
            highest[image.max()] += 1
            digests.append((hashlib.blake2b(raw, digest_size=16).digest(), label))
    parts = [part.tolist() for part in (sums, squares, histograms, brightness, contrast, lowest, highest)]
    yield classes, parts, digests


def analyze(context, folder, out, partitions):
    import numpy

    files = context.binaryFiles(f"file://{folder}/*.tfrecord", partitions)
    found = files.mapPartitions(statistics).cache()
    digests = found.flatMap(lambda part: part[2])
    repeated = digests.groupByKey(partitions).filter(lambda pair: len(pair[1]) > 1).mapValues(list).count()
    classes, totals = {}, None
    for counts, parts, _ in found.collect():
        for label, count in counts.items():
            classes[label] = classes.get(label, 0) + count
        parts = [numpy.array(part) for part in parts]
        totals = parts if totals is None else [total + part for total, part in zip(totals, parts)]
    images = sum(classes.values())
    mean = totals[0] / (images * SIDE * SIDE)
    deviation = numpy.sqrt(totals[1] / (images * SIDE * SIDE) - mean**2)
    report = {"classes": classes, "mean": mean.tolist(), "deviation": deviation.tolist(), "repeated": repeated}
    report["distributions"] = [total.tolist() for total in totals[2:]]
    Path(out).write_text(json.dumps(report))
    return images


def main():
    what, folder, out, partitions = sys.argv[1:]
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master(f"local[{len(os.sched_getaffinity(0))}]")
    session = builder.config("spark.ui.enabled", "false").config("spark.driver.memory", "4g").getOrCreate()
    context = session.sparkContext
    context.setLogLevel("ERROR")
    for module in ("spark_records.py", "spark_data.py"):
        context.addPyFile(str(Path(__file__).with_name(module)))
    context.parallelize(range(1000), int(partitions)).map(lambda number: number + 1).sum()
    start = time.perf_counter()
    images = {"prepare": prepare, "analyze": analyze}[what](context, folder, out, int(partitions))
    seconds = time.perf_counter() - start
    print(json.dumps({"images": images, "seconds": seconds, "version": session.version}), flush=True)
    session.stop()


if __name__ == "__main__":
    main()
