"""TensorFlow as the other side of the TFRecord interoperability test (trainer/records/tests/records/tensorflow.rs).

    tfrecords.py read FOLDER HxWxC    reads all *.tfrecord* of the folder, in order of their names
    tfrecords.py write FOLDER HxWxC   writes three shards of made-up records
    tfrecords.py                      does what each line of standard input says, since TensorFlow is slow to start

The first two print, as a line of JSON, the number of records and SHA-256 digests of all labels (int64, little endian) and all pixels, rows
first, then columns, then channels. --pixels FILE keeps the pixels too. How images and shards are written: --help.
"""

import argparse
import hashlib
import json
import os
import shlex
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import numpy as np
import tensorflow as tf

SUFFIX = {"": "", "GZIP": ".gz", "ZLIB": ".zlib"}


class Seen:
    def __init__(self, pixels):
        self.records, self.labels, self.pixels = 0, hashlib.sha256(), hashlib.sha256()
        self.file = open(pixels, "wb") if pixels else None

    def add(self, label, pixels):
        self.records += 1
        self.labels.update(int(label).to_bytes(8, "little", signed=True))
        self.pixels.update(pixels)
        if self.file:
            self.file.write(pixels)

    def print(self):
        if self.file:
            self.file.close()
        digests = {"labels": self.labels.hexdigest(), "pixels": self.pixels.hexdigest()}
        print(json.dumps({"records": self.records, **digests}))


def decode(image, shape, how):
    if how.encoding == "png":
        return tf.ensure_shape(tf.io.decode_png(image, channels=shape[2]), shape)
    if how.encoding == "jpeg":
        return tf.ensure_shape(tf.io.decode_jpeg(image, channels=shape[2], dct_method=how.dct), shape)
    values = tf.io.decode_raw(image, tf.uint8)
    if how.layout == "CHW":
        return tf.transpose(tf.reshape(values, [shape[2], shape[0], shape[1]]), [1, 2, 0])
    return tf.reshape(values, shape)


def encode(pixels, how):
    if how.encoding == "png":
        return tf.io.encode_png(pixels).numpy()
    if how.encoding == "jpeg":
        return tf.io.encode_jpeg(pixels, quality=90, chroma_downsampling=how.subsampled).numpy()
    return (pixels.transpose(2, 0, 1) if how.layout == "CHW" else pixels).tobytes()


def read(folder, shape, how):
    features = {how.image: tf.io.FixedLenFeature([], tf.string), how.label: tf.io.FixedLenFeature([], tf.int64)}

    def parse(record):
        example = tf.io.parse_single_example(record, features)
        return example[how.label], decode(example[how.image], shape, how)

    files = sorted(tf.io.gfile.glob(os.path.join(folder, "*.tfrecord*")))
    seen = Seen(how.pixels)
    for label, image in tf.data.TFRecordDataset(files, how.compression).map(parse).as_numpy_iterator():
        seen.add(label, image.tobytes())
    seen.print()


def picture(random, shape):
    """A soft one: what JPEG is for, and a layout can be told by."""
    coarse = random.integers(0, 256, (4, 4, shape[2])).astype(np.float32)
    return tf.cast(tf.image.resize(coarse, shape[:2]), tf.uint8).numpy()


def write(folder, shape, how):
    random = np.random.default_rng(7)
    seen = Seen(how.pixels)

    def feature(**kind):
        return tf.train.Feature(**kind)

    for shard in range(3):
        name = f"theirs-{shard}.tfrecord{SUFFIX[how.compression]}"
        with tf.io.TFRecordWriter(os.path.join(folder, name), how.compression) as writer:
            for number in range(100):
                pixels = picture(random, shape) if how.pictures else random.integers(0, 256, shape, dtype=np.uint8)
                image = encode(pixels, how)
                label = int(random.integers(0, 10))
                features = {
                    how.image: feature(bytes_list=tf.train.BytesList(value=[image])),
                    how.label: feature(int64_list=tf.train.Int64List(value=[label])),
                    # What nobody asked for, in every type, must not disturb.
                    "name": feature(bytes_list=tf.train.BytesList(value=[b"a", b"bc"] * (number % 3))),
                    "box": feature(float_list=tf.train.FloatList(value=[0.5] * number)),
                    "none": feature(),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
                seen.add(label, decode(image, shape, how).numpy().tobytes())
    seen.print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["read", "write"])
    parser.add_argument("folder")
    parser.add_argument("shape", help="HxWxC")
    parser.add_argument("--encoding", default="raw", choices=["raw", "png", "jpeg"])
    parser.add_argument("--layout", default="HWC", choices=["HWC", "CHW"], help="of raw images")
    parser.add_argument("--compression", default="", choices=SUFFIX, help="of shards")
    parser.add_argument("--image", default="image", help="name of the feature")
    parser.add_argument("--label", default="label", help="name of the feature")
    parser.add_argument("--pictures", action="store_true", help="write soft pictures instead of noise")
    parser.add_argument("--subsampled", action="store_true", help="write JPEGs with half the chroma in both directions")
    parser.add_argument("--dct", default="INTEGER_ACCURATE", help="how JPEGs are decoded: TensorFlow's dct_method")
    parser.add_argument("--pixels", help="keep the pixels in this file")
    for arguments in [sys.argv[1:]] if len(sys.argv) > 1 else map(shlex.split, sys.stdin):
        how = parser.parse_args(arguments)
        {"read": read, "write": write}[how.mode](how.folder, [int(size) for size in how.shape.split("x")], how)
