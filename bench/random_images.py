"""Writes a folder as CIFAR-10's binary archive extracts to, of random images. usage: random_images.py FOLDER"""

import os
import random
import sys
from pathlib import Path

BATCH = 10_000
PIXELS = 3 * 32 * 32


def main():
    target = Path(sys.argv[1])
    folder = target.with_name(target.name + ".new")
    folder.mkdir(parents=True, exist_ok=True)
    generator = random.Random(42)
    names = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
    for name in names:
        with open(folder / name, "wb") as file:
            for number in range(BATCH):
                file.write(bytes([number % 10]) + generator.randbytes(PIXELS))
    (folder / "batches.meta.txt").write_text("".join(f"class{number}\n" for number in range(10)))
    os.replace(folder, target)


main()
