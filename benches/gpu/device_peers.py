"""The peers of the benchmarks on a GPU: cuBLAS and attention through PyTorch, and Triton. Reads a request per line as
JSON, answers each with a line of JSON.

    {"do": "versions"}                            what there is: {"PyTorch": "2.9.0", …}
    {"do": "load", "bench": name, "sizes": {…}}   {"contestants": [names], "skipped": {name: why}}
    {"do": "sample", "contestant": name}          {"seconds": of one call, by the device's clock, with cold caches}
    {"do": "check", "contestant": name}           {"difference": from float64, as a part of the result's norm}

Whatever fails is answered with {"error": why}. What Python lacks is skipped, with the reason. `--cpu` runs what can run on the processor, to try the protocol.
"""

import json
import math
import sys
import time

try:
    import torch
    import torch.nn.functional as F
except ImportError as error:
    torch, NO_TORCH = None, str(error)

try:
    import triton
    import triton_kernels

    NO_TRITON = None
except ImportError as error:
    triton, NO_TRITON = None, str(error)

ON_CPU = "--cpu" in sys.argv
DEVICE = "cpu" if ON_CPU else "cuda"
# More than the last-level cache of any device.
FLUSH_BYTES = 256 << 20


class Clock:
    """Times one call after the caches were filled with something else. The device is still busy with that when the call
    is queued, so that the time to queue it does not count."""

    def __init__(self):
        if not ON_CPU:
            self.junk = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=DEVICE)
            self.begin, self.end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def seconds(self, call):
        if ON_CPU:
            begin = time.perf_counter()
            call()
            return time.perf_counter() - begin
        self.junk.zero_()
        self.begin.record()
        call()
        self.end.record()
        self.end.synchronize()
        return self.begin.elapsed_time(self.end) / 1e3


def bf16(*dims):
    """Numbers around one in size: what a normal distribution gives."""
    return torch.randn(*dims, device=DEVICE, dtype=torch.float32).to(torch.bfloat16)


def fastest(clock, settings):
    """The fastest of a Triton kernel's settings; those that do not compile or fit are left out."""
    times = {}
    for name, call in settings:
        try:
            call()
            times[name] = min(clock.seconds(call) for _ in range(3)), call
        except Exception as error:  # a setting that a device cannot run is a setting less
            reason = f"{name}: {str(error).strip()[:200]}"
    if not times:
        raise RuntimeError(reason)
    name = min(times, key=lambda name: times[name][0])
    return f"Triton ({name})", times[name][1]


# --- benches: each gives contestants by name, the reason for each that is missing, and a float64 result to compare with


def copy(_clock, bytes):
    x = torch.ones(bytes // 4, device=DEVICE)
    y = torch.empty_like(x)
    return {"PyTorch copy": lambda: y.copy_(x)}, {}, lambda: x.double()


def add(clock, n):
    x, y = torch.randn(n, device=DEVICE), torch.randn(n, device=DEVICE)
    out = torch.empty_like(x)
    calls = {"PyTorch": lambda: torch.add(x, y, out=out)}

    def with_triton():
        def setting(block, warps):
            grid = (triton.cdiv(n, block),)

            def call():
                triton_kernels.add[grid](x, y, out, n, BLOCK=block, num_warps=warps)
                return out

            return f"{block}, {warps} warps", call

        return fastest(clock, [setting(b, w) for b in (1024, 2048, 4096) for w in (4, 8)])

    return *with_optional(calls, with_triton), lambda: x.double() + y.double()


def softmax(clock, m, n):
    x = bf16(m, n)
    out = torch.empty_like(x)
    calls = {"PyTorch": lambda: torch.softmax(x, -1, out=out)}

    def with_triton():
        block = triton.next_power_of_2(n)

        def setting(warps):
            def call():
                triton_kernels.softmax[(m,)](x, out, n, BLOCK=block, num_warps=warps)
                return out

            return f"{warps} warps", call

        return fastest(clock, [setting(w) for w in (4, 8, 16)])

    return *with_optional(calls, with_triton), lambda: torch.softmax(x.double(), -1)


def matmul(clock, m, n, k):
    a, b = bf16(m, k), bf16(k, n)
    out = torch.empty(m, n, device=DEVICE, dtype=torch.bfloat16)
    calls = {"cuBLAS (PyTorch)": lambda: torch.mm(a, b, out=out)}

    def with_triton():
        def setting(kind, bm, bn, bk, warps, stages):
            kernel = getattr(triton_kernels, f"matmul_{kind}")
            grid = (triton.cdiv(m, bm) * triton.cdiv(n, bn),)

            def call():
                kernel[grid](a, b, out, m, n, k, BM=bm, BN=bn, BK=bk, num_warps=warps, num_stages=stages)
                return out

            return f"{kind} {bm}x{bn}x{bk}, {warps} warps, {stages} stages", call

        allow_descriptors()
        shapes = ((128, 128, 64, 4, 4), (128, 128, 64, 8, 4), (128, 256, 64, 8, 3), (256, 128, 64, 8, 3))
        kinds = ("pointers", "descriptors")
        return fastest(clock, [setting(kind, *shape) for kind in kinds for shape in shapes])

    def exact():
        return a[:256].double() @ b.double()

    return *with_optional(calls, with_triton), exact


def attention(clock, heads, n, d):
    q, k, v = (bf16(1, heads, n, d) for _ in range(3))
    scale = 1 / math.sqrt(d)
    calls, skipped = {}, {}
    from torch.nn.attention import SDPBackend, sdpa_kernel

    for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cuDNN", SDPBackend.CUDNN_ATTENTION)):

        def call(backend=backend):
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v, scale=scale)

        try:
            call()
            calls[f"PyTorch attention ({name})"] = call
        except Exception as error:
            skipped[f"PyTorch attention ({name})"] = str(error).strip().split("\n")[0][:200]

    def with_triton():
        out = torch.empty_like(q)
        grid = (triton.cdiv(n, 128), heads)

        def setting(kind, bn, warps, stages, roles):
            blocks = {"D": d, "BM": 128, "BN": bn}
            options = {"num_warps": warps, "num_stages": stages}

            def pointers():
                triton_kernels.attention_pointers[grid](q, k, v, out, n, n, scale, **blocks, **options)
                return out

            def descriptors():
                kernel = triton_kernels.attention_descriptors
                kernel[grid](q, k, v, out, n, n, scale, heads, **blocks, ROLES=roles, **options)
                return out

            name = f"{kind}{' roles' * roles} 128x{bn}, {warps} warps, {stages} stages"
            return name, pointers if kind == "pointers" else descriptors

        allow_descriptors()
        kinds = (("pointers", False), ("descriptors", False), ("descriptors", True))
        shapes = ((64, 4, 3), (128, 4, 2), (64, 8, 3), (128, 8, 2))
        return fastest(clock, [setting(kind, *shape, roles) for kind, roles in kinds for shape in shapes])

    def exact():
        rows = q[0, 0, :256].double() @ k[0, 0].double().T * scale
        return torch.softmax(rows, -1) @ v[0, 0].double()

    calls, missing = with_optional(calls, with_triton)
    return calls, skipped | missing, exact


def allow_descriptors():
    """Triton asks for memory for the descriptors that kernels make."""
    if hasattr(triton, "set_allocator"):
        triton.set_allocator(lambda size, _align, _stream: torch.empty(size, dtype=torch.int8, device=DEVICE))


def with_optional(calls, with_triton):
    """Adds Triton to the contestants, or the reason why it is missing."""
    if triton is None or ON_CPU:
        return calls, {"Triton": NO_TRITON or "needs a GPU"}
    try:
        name, call = with_triton()
        return calls | {name: call}, {}
    except Exception as error:
        return calls, {"Triton": str(error).strip()[:200]}


BENCHES = {bench.__name__: bench for bench in (copy, add, softmax, matmul, attention)}


class Worker:
    def __init__(self):
        self.clock, self.calls, self.exact = None, {}, None

    def versions(self):
        if torch is None:
            return {"error": NO_TORCH}
        if not ON_CPU and not torch.cuda.is_available():
            return {"error": f"PyTorch {torch.__version__} finds no GPU"}
        versions = {"PyTorch": torch.__version__}
        if torch.version.cuda:
            versions["CUDA"] = torch.version.cuda
        if triton is not None:
            versions["Triton"] = triton.__version__
        return versions

    def answer(self, request):
        match request["do"]:
            case "versions":
                return self.versions()
            case "load":
                # The operands of the last bench go first.
                self.calls, self.exact = {}, None
                if not ON_CPU:
                    torch.cuda.empty_cache()
                self.clock = self.clock or Clock()
                self.calls, skipped, self.exact = BENCHES[request["bench"]](self.clock, **request["sizes"])
                return {"contestants": list(self.calls), "skipped": skipped}
            case "sample":
                return {"seconds": self.clock.seconds(self.calls[request["contestant"]])}
            case "check":
                got, want = self.calls[request["contestant"]](), self.exact()
                got = got.reshape(-1)[: want.numel()].double().reshape(want.shape)
                return {"difference": ((got - want).norm() / want.norm()).item()}
            case other:
                return {"error": f"`{other}` is not a request"}


def main():
    worker = Worker()
    for line in sys.stdin:
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {str(error).strip()[:300]}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    if torch is None:
        main()
    else:
        with torch.no_grad():
            main()
