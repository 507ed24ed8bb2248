"""NumPy as the other side of the analysis' test (trainer/analysis/tests/analysis/numpy.rs).

    image_statistics.py FOLDER HxWxC         reads all *.tfrecord of the folder: raw images and their labels
    image_statistics.py pack IMAGES FOLDER   writes such records: IMAGES/CLASS/*.jpg as TensorFlow (libjpeg) decodes them

The first prints, as JSON, the figures that `lockstep analyze` has: class counts, and of each distribution histogram, mean
and (population) deviation.
"""

import glob
import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import numpy as np
import tensorflow as tf


def read(folder, shape):
    features = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
    files = sorted(tf.io.gfile.glob(os.path.join(folder, "*.tfrecord")))
    examples = tf.data.TFRecordDataset(files).batch(1024).map(lambda batch: tf.io.parse_example(batch, features))
    images, labels = [], []
    for example in examples.as_numpy_iterator():
        images.append(np.frombuffer(b"".join(example["image"]), np.uint8).reshape(-1, *shape))
        labels.append(example["label"])
    return np.concatenate(images), np.concatenate(labels)


def pack(images, folder):
    decode = lambda file: tf.io.decode_jpeg(tf.io.read_file(file), dct_method="INTEGER_ACCURATE")
    feature = lambda **kind: tf.train.Feature(**kind)
    with tf.io.TFRecordWriter(os.path.join(folder, "pixels.tfrecord")) as writer:
        for label, name in enumerate(sorted(os.listdir(images))):
            files = tf.data.Dataset.from_tensor_slices(sorted(glob.glob(os.path.join(images, name, "*.jpg"))))
            for pixels in files.map(decode, tf.data.AUTOTUNE).as_numpy_iterator():
                image = feature(bytes_list=tf.train.BytesList(value=[pixels.tobytes()]))
                features = {"image": image, "label": feature(int64_list=tf.train.Int64List(value=[label]))}
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def distribution(values, bins):
    values = np.asarray(values)
    histogram = np.bincount(values.ravel(), minlength=bins)
    return {"histogram": histogram.tolist(), "mean": values.mean(dtype=np.float64), "deviation": values.std(dtype=np.float64)}


def main(folder, shape):
    images, labels = read(folder, shape)
    values = images.reshape(len(images), -1)
    red, green, blue = (images[..., channel].astype(np.int64) for channel in range(3))
    luma = ((77 * red + 150 * green + 29 * blue + 128) >> 8).reshape(len(images), -1)
    rounded = lambda figures: np.floor(figures + 0.5).astype(np.int64)
    # To a level above where the mean lies exactly between two.
    print(
        json.dumps(
            {
                "classes": np.bincount(labels).tolist(),
                "channels": [distribution(images[..., channel], 256) for channel in range(shape[2])],
                "brightness": distribution(rounded(luma.mean(axis=1)), 256),
                "contrast": distribution(rounded(luma.std(axis=1)), 129),
                "darkest": distribution(values.min(axis=1), 256),
                "brightest": distribution(values.max(axis=1), 256),
                "saturated": distribution(100 * ((values == 0) | (values == 255)).sum(axis=1) // values.shape[1], 101),
                "duplicates": len(images) - len({(image.tobytes(), label) for image, label in zip(images, labels)}),
            }
        )
    )


if __name__ == "__main__":
    if sys.argv[1] == "pack":
        pack(*sys.argv[2:])
    else:
        main(sys.argv[1], [int(side) for side in sys.argv[2].split("x")])
