"""TensorFlow as the other side of the TFRecord interoperability test (trainer/records/tests/records/tensorflow.rs).

    tfrecords.py read FOLDER HxWxC    reads all *.tfrecord of the folder, in order of their names
    tfrecords.py write FOLDER HxWxC   writes three shards of made-up records

Both print, as JSON, the number of records and SHA-256 digests of all labels (int64, little endian) and all pixels.
"""

import hashlib
import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import numpy as np
import tensorflow as tf


class Digests:
    def __init__(self):
        self.records, self.labels, self.pixels = 0, hashlib.sha256(), hashlib.sha256()

    def add(self, label, pixels):
        self.records += 1
        self.labels.update(int(label).to_bytes(8, "little", signed=True))
        self.pixels.update(pixels)

    def print(self):
        digests = {"labels": self.labels.hexdigest(), "pixels": self.pixels.hexdigest()}
        print(json.dumps({"records": self.records, **digests}))


def read(folder, shape):
    features = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}

    def parse(record):
        example = tf.io.parse_single_example(record, features)
        return example["label"], tf.reshape(tf.io.decode_raw(example["image"], tf.uint8), shape)

    files = sorted(tf.io.gfile.glob(os.path.join(folder, "*.tfrecord")))
    digests = Digests()
    for label, image in tf.data.TFRecordDataset(files).map(parse).as_numpy_iterator():
        digests.add(label, image.tobytes())
    digests.print()


def write(folder, shape):
    random = np.random.default_rng(7)
    digests = Digests()

    def feature(**kind):
        return tf.train.Feature(**kind)

    for shard in range(3):
        with tf.io.TFRecordWriter(os.path.join(folder, f"theirs-{shard}.tfrecord")) as writer:
            for number in range(100):
                image = random.integers(0, 256, shape, dtype=np.uint8).tobytes()
                label = int(random.integers(0, 10))
                features = {
                    "image": feature(bytes_list=tf.train.BytesList(value=[image])),
                    "label": feature(int64_list=tf.train.Int64List(value=[label])),
                    # What nobody asked for, in every type, must not disturb.
                    "name": feature(bytes_list=tf.train.BytesList(value=[b"a", b"bc"] * (number % 3))),
                    "box": feature(float_list=tf.train.FloatList(value=[0.5] * number)),
                    "none": feature(),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
                digests.add(label, image)
    digests.print()


if __name__ == "__main__":
    mode, folder, shape = sys.argv[1:]
    {"read": read, "write": write}[mode](folder, [int(size) for size in shape.split("x")])
