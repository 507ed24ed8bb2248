"""NumPy as the other side of trainer/records/tests/records/numpy.rs.

    numpy_files.py FOLDER    writes folders of arrays below FOLDER, in every form that is read and some that are not

Prints a JSON object: for each folder that is read its layout (or null), the number of records and SHA-256 digests of all
labels (int64, little endian) and all pixels (HWC); null for each that is refused.
"""

import hashlib
import json
import os
import sys

import numpy as np

random = np.random.default_rng(7)
images = random.integers(0, 256, (50, 7, 9, 3), dtype=np.uint8)
grey = images[..., :1]
wide = random.integers(0, 256, (50, 3, 9, 3), dtype=np.uint8)
labels = random.integers(0, 10, 50)
planar = lambda array: np.ascontiguousarray(array.transpose(0, 3, 1, 2))

# Folder: x, y, layout, and the images that must be read.
read = {
    "nhwc": (images, labels, None, images),
    "nchw": (planar(images), labels.astype(">i4"), None, images),
    "nhw": (grey[..., 0], labels.astype(np.uint8).reshape(50, 1), None, grey),
    "nhw1": (grey, labels.astype(np.int16), None, grey),
    "said nhwc": (wide, labels.astype(np.uint64), "nhwc", wide),
    "said nchw": (planar(wide), labels.astype(np.int8), "nchw", wide),
    "version 2": (images, labels.astype(">u4"), None, images),
    "version 3": (images, labels.astype(np.uint16), None, images),
}
refused = {
    "floats": (images.astype(np.float32), labels),
    "fortran": (np.asfortranarray(images), labels),
    "ambiguous": (wide, labels),
    "truth": (images, labels > 4),
    "one-hot": (images, np.eye(10, dtype=np.int64)[labels]),
    "records": (images, np.zeros(50, dtype=[("a", "<i4"), ("b", "<i4")])),
    "objects": (images, labels.astype(object)),
}


def save(folder, name, array, version=None):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as file:
        np.lib.format.write_array(file, array, version=version)


found = {}
for case, (x, y, layout, hwc) in read.items():
    folder = os.path.join(sys.argv[1], case)
    version = (int(case[-1]), 0) if case.startswith("version") else None
    save(folder, "x_train.npy", x, version)
    save(folder, "y_train.npy", y, version)
    found[case] = {
        "layout": layout,
        "records": 50,
        "labels": hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest(),
        "pixels": hashlib.sha256(hwc.tobytes()).hexdigest(),
    }
for case, (x, y) in refused.items():
    folder = os.path.join(sys.argv[1], case)
    save(folder, "x_train.npy", x)
    save(folder, "y_train.npy", y)
    found[case] = None
print(json.dumps(found))
