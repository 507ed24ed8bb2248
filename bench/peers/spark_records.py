"""TFRecords of tf.train.Example in PySpark's workers: checksums by crc32c's instruction, messages by protobuf's C code.

Sources of the formats: TensorFlow, `core/lib/io/record_writer.cc` and `core/example/{example,feature}.proto`.
"""

import struct

import crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

LABEL, REPEATED, OPTIONAL = "label", 3, 1
BYTES, INT64, MESSAGE, STRING = 12, 3, 11, 9


def example_class():
    """`tf.train.Example` with the two kinds of lists that images have."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")

    def message(name, *fields):
        made = file.message_type.add(name=name)
        for number, field, kind, label, of in fields:
            made.field.add(name=field, number=number, type=kind, label=label, type_name=of and f".tensorflow.{of}")
        return made

    message("BytesList", (1, "value", BYTES, REPEATED, None))
    message("Int64List", (1, "value", INT64, REPEATED, None))
    message("Feature", (1, "bytes_list", MESSAGE, OPTIONAL, "BytesList"), (3, "int64_list", MESSAGE, OPTIONAL, "Int64List"))
    features = message("Features", (1, "feature", MESSAGE, REPEATED, "Features.FeatureEntry"))
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=STRING, label=OPTIONAL)
    entry.field.add(name="value", number=2, type=MESSAGE, label=OPTIONAL, type_name=".tensorflow.Feature")
    message("Example", (1, "features", MESSAGE, OPTIONAL, "Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


def masked_crc(data):
    crc = crc32c.crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def framed(data):
    length = struct.pack("<Q", len(data))
    return b"".join((length, struct.pack("<I", masked_crc(length)), data, struct.pack("<I", masked_crc(data))))


def records(shard):
    """The data of a shard's records, both checksums checked."""
    view, offset = memoryview(shard), 0
    while offset < len(view):
        length, check = struct.unpack_from("<QI", view, offset)
        data = view[offset + 12 : offset + 12 + length]
        (data_check,) = struct.unpack_from("<I", view, offset + 12 + length)
        if check != masked_crc(view[offset : offset + 8]) or data_check != masked_crc(data):
            raise ValueError(f"a damaged record at byte {offset}")
        yield data
        offset += 16 + length
