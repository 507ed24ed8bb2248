"""How fast plain sockets carry what an all-reduce cannot do without: in a ring, every process sends and receives
2 (p - 1) / p of the vector at once. Prints the median milliseconds."""

import argparse
import json
import os
import socket
import statistics
import threading
import time

# Stays in the second-level cache.
BUFFER = 1 << 18


def connect(port):
    deadline = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def send(connection, count):
    block = bytes(BUFFER)
    while count:
        part = memoryview(block)[: min(count, BUFFER)]
        connection.sendall(part)
        count -= len(part)


def receive(connection, count):
    block = bytearray(BUFFER)
    while count:
        received = connection.recv_into(block, min(count, BUFFER))
        if received == 0:
            raise ConnectionError("the preceding process has ended")
        count -= received


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, required=True)
    parser.add_argument("--repetitions", type=int, required=True)
    options = parser.parse_args()
    ports = [int(port) for port in os.environ["PORTS"].split(",")]
    rank, world = int(os.environ["RANK"]), len(ports)
    count = int(options.megabytes * 1e6 * 2 * (world - 1) / world)
    listener = socket.create_server(("127.0.0.1", ports[rank]))
    following = connect(ports[(rank + 1) % world])
    preceding = listener.accept()[0]
    for connection in (following, preceding):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    milliseconds = []
    for _ in range(2 + options.repetitions):
        # Twice around the ring: all are here.
        for _ in range(2):
            send(following, 1)
            receive(preceding, 1)
        start = time.perf_counter()
        sending = threading.Thread(target=send, args=(following, count))
        sending.start()
        receive(preceding, count)
        sending.join()
        milliseconds.append((time.perf_counter() - start) * 1e3)
    print(json.dumps({"milliseconds": statistics.median(milliseconds[2:])}), flush=True)


main()
