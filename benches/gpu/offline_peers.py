"""Compiles the peers' kernels of the offline comparison, without a GPU.

    scripts/gpu-tools --peers
    .gpu-tools/peers/bin/python benches/gpu/offline_peers.py FOLDER

writes one cubin for each kernel, target and setting into FOLDER, and `kernels.tsv` beside them: file, kernel, target,
compiler, setting, bytes of shared memory asked for at launch (empty where the compiler does not say). The program
`gpu-offline` of the benchmarks counts their instructions. Every peer gets the settings its users try first; the table
shows the best.
"""

import itertools
import os
import pathlib
import sys

os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

import cuda.tile as ct
import triton
from cuda.tile.compilation import ArrayConstraint, CallingConvention, ConstantConstraint, KernelSignature, export_kernel
from cuda.tile.compilation import ScalarConstraint
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import triton_kernels as kernels

TARGETS = {"sm_80": 80, "sm_90a": 90}


# --- Triton


def triton_cubin(fn, types, constants, capability, warps, stages):
    """The cubin of a Triton kernel and the shared memory it asks for. All sizes and pointers are multiples of 16."""
    signature = types | {name: "constexpr" for name in constants}
    divisible = {(i,): [["tt.divisibility", 16]] for i, t in enumerate(types.values()) if t != "fp32"}
    source = ASTSource(fn, signature=signature, constexprs=constants, attrs=divisible)
    options = {"num_warps": warps, "num_stages": stages}
    kernel = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    return kernel.asm["cubin"], kernel.metadata.shared


def triton_kernels():
    """Yields (kernel, target, setting, arguments of `triton_cubin`)."""
    pointers = {"a": "*bf16", "b": "*bf16", "c": "*bf16"}
    sizes = {"m": "i32", "n": "i32", "k": "i32"}
    for target, capability in TARGETS.items():
        kinds = [("pointers", kernels.matmul_pointers)]
        if capability >= 90:
            kinds.append(("descriptors", kernels.matmul_descriptors))
        for (kind, fn), bk, warps, stages in itertools.product(kinds, (32, 64), (4, 8), (3, 4)):
            constants = {"BM": 128, "BN": 128, "BK": bk}
            setting = f"{kind} 128x128x{bk}, {warps} warps, {stages} stages"
            yield "matmul 128x128", target, setting, (fn, pointers | sizes, constants, capability, warps, stages)
    operands = {name: "*bf16" for name in ("q", "k", "v", "out")} | {"m": "i32", "n": "i32", "scale": "fp32"}
    for d, (target, capability) in itertools.product((64, 128), TARGETS.items()):
        for bn, warps, stages in itertools.product((32, 64, 128), (4, 8), (2, 3)):
            constants = {"D": d, "BM": 128, "BN": bn}
            setting = f"pointers 128x{bn}, {warps} warps, {stages} stages"
            arguments = (kernels.attention_pointers, operands, constants, capability, warps, stages)
            yield f"attention {d}", target, setting, arguments
            if capability < 90:
                continue
            for roles in (False, True):
                setting = f"descriptors{' roles' * roles} 128x{bn}, {warps} warps, {stages} stages"
                types = operands | {"heads": "i32"}
                constants = {"D": d, "BM": 128, "BN": bn, "ROLES": roles}
                arguments = (kernels.attention_descriptors, types, constants, capability, warps, stages)
                yield f"attention {d}", target, setting, arguments


# --- NVIDIA's tile compiler


@ct.kernel
def tile_matmul(a, b, c, bm: ct.Constant[int], bn: ct.Constant[int], bk: ct.Constant[int]):
    """c[m, n] = a[m, k] b[k, n]."""
    i = ct.bid(0)
    j = ct.bid(1)
    acc = ct.zeros((bm, bn), dtype=ct.float32)
    for at in range(ct.num_tiles(a, axis=1, shape=(bm, bk))):
        ta = ct.load(a, (i, at), (bm, bk), padding_mode=ct.PaddingMode.ZERO)
        tb = ct.load(b, (at, j), (bk, bn), padding_mode=ct.PaddingMode.ZERO)
        acc = ct.mma(ta, tb, acc)
    ct.store(c, (i, j), ct.astype(acc, ct.bfloat16))


@ct.kernel
def tile_attention(q, k, v, out, scale: float, d: ct.Constant[int], bm: ct.Constant[int], bn: ct.Constant[int]):
    """softmax(q kᵀ scale) v for [heads, m or n, d], not causal."""
    head = ct.bid(1)
    row = ct.bid(0)
    qt = ct.load(q, (head, row, 0), (1, bm, d)).reshape((bm, d))
    largest = ct.full((bm, 1), -float("inf"), dtype=ct.float32)
    total = ct.zeros((bm, 1), dtype=ct.float32)
    acc = ct.zeros((bm, d), dtype=ct.float32)
    scale = scale * 1.4426950408889634
    for at in range(ct.num_tiles(k, axis=1, shape=(1, bn, d))):
        kt = ct.load(k, (head, 0, at), (1, d, bn), order=(0, 2, 1)).reshape((d, bn))
        s = ct.mma(qt, kt, ct.zeros((bm, bn), dtype=ct.float32))
        new = ct.maximum(largest, ct.max(s, axis=1, keepdims=True) * scale)
        p = ct.exp2(s * scale - new, flush_to_zero=True)
        fix = ct.exp2(largest - new, flush_to_zero=True)
        total = total * fix + ct.sum(p, axis=1, keepdims=True)
        vt = ct.load(v, (head, at, 0), (1, bn, d)).reshape((bn, d))
        acc = ct.mma(ct.astype(p, ct.bfloat16), vt, acc * fix)
        largest = new
    ct.store(out, (head, row, 0), ct.astype(acc / total, ct.bfloat16).reshape((1, bm, d)))


def array(rank):
    """A row-major bf16 array whose rows are aligned."""
    constant = [None] * (rank - 1) + [1]
    return ArrayConstraint(
        ct.bfloat16,
        rank,
        index_dtype=ct.int32,
        stride_lower_bound_incl=0,
        alias_groups=(),
        may_alias_internally=False,
        stride_constant=constant,
        stride_divisible_by=[16] * (rank - 1) + [1],
        shape_divisible_by=16,
        base_addr_divisible_by=16,
    )


def tile_cubin(fn, parameters, target, path):
    """Writes the cubin of a cuda-tile kernel."""
    signature = KernelSignature(parameters, calling_convention=CallingConvention.cutile_python_v1())
    export_kernel(fn, [signature], path, gpu_code=target.removesuffix("a"), output_format="cubin")


def tile_kernels():
    """Yields (kernel, target, setting, arguments of `tile_cubin` without the path)."""
    for target in TARGETS:
        for bk in (32, 64):
            blocks = [ConstantConstraint(x) for x in (128, 128, bk)]
            yield "matmul 128x128", target, f"128x128x{bk}", (tile_matmul, [array(2)] * 3 + blocks, target)
        for d, bn in itertools.product((64, 128), (32, 64, 128)):
            blocks = [ConstantConstraint(x) for x in (d, 128, bn)]
            parameters = [array(3)] * 4 + [ScalarConstraint(ct.float32)] + blocks
            yield f"attention {d}", target, f"128x{bn}", (tile_attention, parameters, target)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    refused = 0

    def add(kernel, target, compiler, setting, compile_to):
        nonlocal refused
        path = folder / f"{len(rows):03}.cubin"
        try:
            shared = compile_to(path)
        except Exception as error:  # a setting that a compiler refuses is a setting less
            refused += 1
            print(f"{compiler} refuses {kernel} {target} {setting}: {str(error).strip()[:200]!r}", file=sys.stderr)
            return
        rows.append(f"{path.name}\t{kernel}\t{target}\t{compiler}\t{setting}\t{shared}\n")

    def triton_to(arguments):
        def go(path):
            cubin, shared = triton_cubin(*arguments)
            path.write_bytes(cubin)
            return shared

        return go

    def tile_to(arguments):
        def go(path):
            tile_cubin(*arguments, path)
            return ""

        return go

    for kernel, target, setting, arguments in triton_kernels():
        add(kernel, target, f"Triton {triton.__version__}", setting, triton_to(arguments))
    for kernel, target, setting, arguments in tile_kernels():
        add(kernel, target, f"cuda-tile {ct.__version__}", setting, tile_to(arguments))
    (folder / "kernels.tsv").write_text("".join(rows))
    print(f"{len(rows)} kernels in {folder}, {refused} settings refused", file=sys.stderr)


if __name__ == "__main__":
    main()
