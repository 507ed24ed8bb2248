"""Trains the reference's CNN on random images in TensorFlow with Keras, as the reference does: `fit`, and under
MultiWorkerMirroredStrategy where TF_CONFIG names other workers.

Prints one line of JSON: images/s of all workers together, and when the first step was done.
"""

import argparse
import json
import os
import time

import numpy
import tensorflow as tf

WARM_UP = 10
# Batches of random images, so that the set is no single one and small all the same.
BATCHES = 8


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--width", type=float, default=1.0)
    return parser.parse_args()


def two_block(width):
    layers = tf.keras.layers
    stack = [tf.keras.Input((32, 32, 3))]
    for filters in (round(32 * width), round(64 * width)):
        for _ in range(2):
            stack += [layers.Conv2D(filters, 3, activation="relu", padding="same"), layers.BatchNormalization()]
        stack += [layers.MaxPooling2D(2), layers.Dropout(0.25)]
    stack += [layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dropout(0.5)]
    return tf.keras.Sequential(stack + [layers.Dense(10, activation="softmax")])


def random_images(count, batch):
    images = numpy.random.rand(count, 32, 32, 3).astype("float32")
    labels = numpy.random.randint(0, 10, count).astype("int32")
    data = tf.data.Dataset.from_tensor_slices((images, labels)).repeat().batch(batch)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return data.with_options(options)


class FirstStep(tf.keras.callbacks.Callback):
    at = None

    def on_train_batch_end(self, batch, logs=None):
        self.at = self.at or time.time()


def main():
    options = arguments()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(min(options.threads, 2))
    workers = len(json.loads(os.environ.get("TF_CONFIG", "{}")).get("cluster", {}).get("worker", [1]))
    strategy = tf.distribute.MultiWorkerMirroredStrategy() if workers > 1 else tf.distribute.get_strategy()
    with strategy.scope():
        model = two_block(options.width)
        model.compile(tf.keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    global_batch = options.batch * workers
    data = random_images(global_batch * BATCHES, global_batch)
    first, images_per_second = FirstStep(), None
    model.fit(data, steps_per_epoch=min(WARM_UP, options.steps), epochs=1, verbose=0, callbacks=[first])
    if options.steps > 1:
        start = time.perf_counter()
        model.fit(data, steps_per_epoch=options.steps, epochs=1, verbose=0)
        images_per_second = options.steps * global_batch / (time.perf_counter() - start)
    result = {"imagesPerSecond": images_per_second, "firstStepAt": first.at, "version": tf.__version__}
    print(json.dumps(result), flush=True)


main()
