"""PyTorch's side of a benchmark: reads the name of an operation per line, answers with seconds per call.

The number of threads is the only argument. Each answer is the median over about 60 ms of calls.
"""

import sys
import time

import torch
import torch.nn.functional as F

TURN = 0.06
torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)
square = torch.randn(4096, 4096)
weight = torch.randn(4096)
small = torch.randn(1024)
left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)

OPERATIONS = {
    "softmax": lambda: F.softmax(square, -1),
    "rms_norm": lambda: F.rms_norm(square, (4096,), weight, 1e-5),
    "add": lambda: small + small,
    "matmul": lambda: left @ right,
}


def median_seconds(operation):
    times, begin = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < TURN:
        start = time.perf_counter()
        operation()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def answer(question):
    if question == "version":
        return torch.__version__
    return repr(median_seconds(OPERATIONS[question]))


if __name__ == "__main__":
    with torch.no_grad():
        for line in sys.stdin:
            print(answer(line.strip()), flush=True)
