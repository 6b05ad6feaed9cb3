"""Triton kernels that helion is compared with: products, attention, softmax, addition. Written for this comparison, in
the ways that Triton's tutorials show. Sizes are multiples of the blocks; `softmax` and `add` take any."""

import triton
import triton.language as tl


@triton.jit
def block_of(m, n, BM: tl.constexpr, BN: tl.constexpr):
    """This program's row and column of blocks: eight rows at a time, so that neighbours share operands in the cache."""
    GROUP: tl.constexpr = 8
    columns = tl.cdiv(n, BN)
    group = tl.program_id(0) // (GROUP * columns)
    rows = min(tl.cdiv(m, BM) - group * GROUP, GROUP)
    at = tl.program_id(0) % (GROUP * columns)
    return group * GROUP + at % rows, at // rows


@triton.jit
def matmul_pointers(a, b, c, m, n, k, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """c[m, n] = a[m, k] b[k, n], row-major, sizes that are multiples of the blocks."""
    row, column = block_of(m, n, BM, BN)
    rows = row * BM + tl.arange(0, BM)
    columns = column * BN + tl.arange(0, BN)
    inner = tl.arange(0, BK)
    pa = a + rows[:, None] * k + inner[None, :]
    pb = b + inner[:, None] * n + columns[None, :]
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for _ in range(0, k, BK):
        acc = tl.dot(tl.load(pa), tl.load(pb), acc)
        pa += BK
        pb += BK * n
    tl.store(c + rows[:, None] * n + columns[None, :], acc.to(tl.bfloat16))


@triton.jit
def matmul_descriptors(a, b, c, m, n, k, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """The same through tensor descriptors."""
    da = tl.make_tensor_descriptor(a, [m, k], [k, 1], [BM, BK])
    db = tl.make_tensor_descriptor(b, [k, n], [n, 1], [BK, BN])
    dc = tl.make_tensor_descriptor(c, [m, n], [n, 1], [BM, BN])
    row, column = block_of(m, n, BM, BN)
    row *= BM
    column *= BN
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for at in range(0, k, BK):
        acc = tl.dot(da.load([row, at]), db.load([at, column]), acc)
    dc.store([row, column], acc.to(tl.bfloat16))


@triton.jit
def attention_pointers(q, k, v, out, m, n, scale, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    """softmax(q kᵀ scale) v for [heads, m or n, D], not causal, sizes that are multiples of the blocks."""
    head = tl.program_id(1)
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    depth = tl.arange(0, D)
    keys = tl.arange(0, BN)
    at = head * m * D + rows[:, None] * D + depth[None, :]
    qt = tl.load(q + at)
    pk = k + head * n * D + keys[None, :] * D + depth[:, None]
    pv = v + head * n * D + keys[:, None] * D + depth[None, :]
    largest = tl.full([BM], -float("inf"), dtype=tl.float32)
    total = tl.zeros([BM], dtype=tl.float32)
    acc = tl.zeros([BM, D], dtype=tl.float32)
    scale *= 1.4426950408889634
    for _ in range(0, n, BN):
        s = tl.dot(qt, tl.load(pk))
        new = tl.maximum(largest, tl.max(s, 1) * scale)
        p = tl.exp2(s * scale - new[:, None])
        fix = tl.exp2(largest - new)
        total = total * fix + tl.sum(p, 1)
        acc = tl.dot(p.to(tl.bfloat16), tl.load(pv), acc * fix[:, None])
        largest = new
        pk += BN * D
        pv += BN * D
    tl.store(out + at, (acc / total[:, None]).to(tl.bfloat16))


@triton.jit
def attention_descriptors(
    q, k, v, out, m, n, scale, heads, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, ROLES: tl.constexpr
):
    """The same through tensor descriptors; `ROLES` gives loads to warps of their own."""
    dq = tl.make_tensor_descriptor(q, [heads * m, D], [D, 1], [BM, D])
    dk = tl.make_tensor_descriptor(k, [heads * n, D], [D, 1], [BN, D])
    dv = tl.make_tensor_descriptor(v, [heads * n, D], [D, 1], [BN, D])
    do = tl.make_tensor_descriptor(out, [heads * m, D], [D, 1], [BM, D])
    head = tl.program_id(1)
    row = head * m + tl.program_id(0) * BM
    qt = dq.load([row, 0])
    largest = tl.full([BM], -float("inf"), dtype=tl.float32)
    total = tl.zeros([BM], dtype=tl.float32)
    acc = tl.zeros([BM, D], dtype=tl.float32)
    scale *= 1.4426950408889634
    for at in tl.range(0, n, BN, warp_specialize=ROLES):
        s = tl.dot(qt, dk.load([head * n + at, 0]).T)
        new = tl.maximum(largest, tl.max(s, 1) * scale)
        p = tl.exp2(s * scale - new[:, None])
        fix = tl.exp2(largest - new)
        total = total * fix + tl.sum(p, 1)
        acc = tl.dot(p.to(tl.bfloat16), dv.load([head * n + at, 0]), acc * fix[:, None])
        largest = new
    do.store([row, 0], (acc / total[:, None]).to(tl.bfloat16))


@triton.jit
def add(x, y, out, n, BLOCK: tl.constexpr):
    """out = x + y."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    tl.store(out + at, tl.load(x + at, mask=mask) + tl.load(y + at, mask=mask), mask=mask)


@triton.jit
def softmax(x, out, n, BLOCK: tl.constexpr):
    """Softmax of each row of [·, n]; a row is one block."""
    columns = tl.arange(0, BLOCK)
    mask = columns < n
    row = tl.program_id(0).to(tl.int64) * n
    values = tl.load(x + row + columns, mask=mask, other=-float("inf")).to(tl.float32)
    values = tl.exp(values - tl.max(values, 0))
    values = values / tl.sum(values, 0)
    tl.store(out + row + columns, values.to(out.dtype.element_ty), mask=mask)
