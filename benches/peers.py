"""The peers that Python has, as contestants of a race that `helion-benches` runs.

In: one JSON object per line. `{"case": ..., "folder": ..., "inputs": {name: [dtype, shape]}, "compile": bool}` prepares a
case from the files `folder/name.raw`; `{"output": contestant}` runs a contestant once and writes `folder/output.raw` as f32;
`{"turn": contestant, "seconds": ...}` calls it for about so long. Out: one JSON object per line and question: the names of
the contestants, or the median seconds of one call. The number of threads is the only argument.

A contestant whose name ends in `*` had its weights packed before the race.
"""

import json
import math
import os
import sys
import time

THREADS = int(sys.argv[1])
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = str(THREADS)

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
torch.set_num_threads(THREADS)

DTYPES = {"f32": (np.float32, None), "bf16": (np.int16, torch.bfloat16), "i8": (np.int8, None),
          "i64": (np.int64, None), "i32": (np.int32, None)}


# ---------------------------------------------------------------------------------------------------- onnxruntime

def loaded(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Its threads wait for more work at full speed, but only inside a call: the next turn is another contestant's.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


ONNX_TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int8): TensorProto.INT8, np.dtype(np.uint8): TensorProto.UINT8,
              np.dtype(np.int32): TensorProto.INT32, np.dtype(np.int64): TensorProto.INT64}


def onnx_op(op, inputs, constants=(), result=TensorProto.FLOAT, domain="", **attributes):
    """One operator; `inputs` are arrays given at each call, `constants` were packed when the model was loaded."""
    return onnx_graph([(op, [f"x{i}" for i in range(len(inputs) + len(constants))], domain, attributes)], inputs, constants, result)


def onnx_graph(ops, inputs, constants=(), result=TensorProto.FLOAT):
    """Operators in order, `(name, inputs, domain, attributes)`; operator `i` gives `t{i}`, and the last one the result."""
    names = [f"x{i}" for i in range(len(inputs) + len(constants))]
    values = [helper.make_tensor_value_info(n, ONNX_TYPES[a.dtype], a.shape) for n, a in zip(names, inputs)]
    fixed = [onnx.numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in zip(names[len(inputs):], constants)]
    nodes = [helper.make_node(op, ins, [f"t{i}"], domain=domain, **attributes) for i, (op, ins, domain, attributes) in enumerate(ops)]
    out = helper.make_tensor_value_info(f"t{len(ops) - 1}", result, None)
    graph = helper.make_graph(nodes, "g", values, [out], fixed)
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    run, feed = loaded(model.SerializeToString()), dict(zip(names, inputs))
    return lambda: run.run(None, feed)[0]


# ---------------------------------------------------------------------------------------------------------- cases

COMPILE = False


def both(function, *args):
    """An operation of PyTorch, eager and, where wanted, compiled."""
    contestants = {"PyTorch eager": lambda: function(*args)}
    if COMPILE:
        compiled = torch.compile(function, dynamic=False)
        contestants["torch.compile"] = lambda: compiled(*args)
    return contestants


def packed(a, weight):
    """oneDNN with the weight in its own order; `weight` is `[out, in]`."""
    own = torch.ops.mkldnn._reorder_linear_weight(weight, a.shape[0])
    return lambda: torch.ops.mkldnn._linear_pointwise(a, own, None, "none", [], "")


def matmul(t):
    a, b = t["a"], t["b"]
    an, bn = a.numpy(), b.numpy()
    return {
        "PyTorch eager": lambda: a @ b,
        "numpy (OpenBLAS)": lambda: an @ bn,
        "onnxruntime": onnx_op("MatMul", [an, bn]),
        "oneDNN*": packed(a, b.t().contiguous()),
        "onnxruntime*": onnx_op("MatMul", [an], [bn]),
    }


def bf16_matmul(t):
    a, b = t["a"], t["b"]
    contestants = {"PyTorch eager": lambda: a @ b}
    try:
        contestants["oneDNN*"] = packed(a, b.t().contiguous())
    except RuntimeError as missing:  # it packs bf16 only for processors with AVX-512
        print(missing)
    return contestants


def batched_matmul(t):
    a, b = t["a"], t["b"]
    an, bn = a.numpy(), b.numpy()
    return {"PyTorch eager": lambda: a @ b, "numpy (OpenBLAS)": lambda: an @ bn, "onnxruntime": onnx_op("MatMul", [an, bn])}


def int8_matmul(t):
    a, b, sa, sb = t["a"], t["b"], t["a_scale"], t["b_scale"]

    def scaled(a, b, sa, sb):
        return torch._int_mm(a, b).float() * sa[:, None] * sb

    ops = [("MatMulInteger", ["x0", "x1"], "", {}), ("Cast", ["t0"], "", {"to": TensorProto.FLOAT}),
           ("Mul", ["t1", "x2"], "", {}), ("Mul", ["t2", "x3"], "", {})]
    arrays = [a.numpy(), b.numpy(), sa.numpy()[:, None].copy(), sb.numpy()]
    return {"PyTorch eager": lambda: scaled(a, b, sa, sb), "onnxruntime": onnx_graph(ops, arrays)}


def int4_matmul(t):
    """Bytes of `[groups, half, n]`: low bits are row `i` of a group, high bits row `half + i`."""
    x, w, scale = t["x"], t["w"], t["scale"]
    groups, half, n = w.shape
    four = torch.cat([(w << 4) >> 4, w >> 4], 1).reshape(groups * 2 * half, n)
    full = (four.float().reshape(groups, 2 * half, n) * scale[:, None, :]).reshape(-1, n)
    unsigned = (four.t().contiguous().numpy().astype(np.int16) + 8).astype(np.uint8).reshape(n, groups, half, 2)
    bytes_ = (unsigned[..., 0] | unsigned[..., 1] << 4).astype(np.uint8)
    zero = np.full((n, (groups + 1) // 2), 0x88, np.uint8)
    attributes = {"K": groups * 2 * half, "N": n, "bits": 4, "block_size": 2 * half}
    nbits = [x.numpy()], [bytes_, scale.t().contiguous().numpy(), zero]
    contestants = {
        "onnxruntime*": onnx_op("MatMulNBits", *nbits, domain="com.microsoft", **attributes),
        "onnxruntime, int8*": onnx_op("MatMulNBits", *nbits, domain="com.microsoft", accuracy_level=4, **attributes),
        "PyTorch eager, weights as f32": lambda: x @ full,
    }
    return contestants


def softmax(t):
    x = t["x"]
    return both(lambda x: F.softmax(x, -1), x) | {"onnxruntime": onnx_op("Softmax", [x.numpy()], axis=-1)}


def layer_norm(t):
    x, w, b = t["x"], t["w"], t["b"]
    ours = both(lambda x, w, b: F.layer_norm(x, (x.shape[-1],), w, b, 1e-5), x, w, b)
    return ours | {"onnxruntime": onnx_op("LayerNormalization", [x.numpy(), w.numpy(), b.numpy()], epsilon=1e-5)}


def rms_norm(t):
    x, w = t["x"], t["w"]
    ours = both(lambda x, w: F.rms_norm(x, (x.shape[-1],), w, 1e-5), x, w)
    return ours | {"onnxruntime": onnx_op("RMSNormalization", [x.numpy(), w.numpy()], epsilon=1e-5)}


def gelu_tanh(t):
    x = t["x"]
    return both(lambda x: F.gelu(x, approximate="tanh"), x) | {"onnxruntime": onnx_op("Gelu", [x.numpy()], approximate="tanh")}


def gelu_erf(t):
    x = t["x"]
    return both(F.gelu, x) | {"onnxruntime": onnx_op("Gelu", [x.numpy()])}


def exp(t):
    x = t["x"]
    return both(torch.exp, x) | {"onnxruntime": onnx_op("Exp", [x.numpy()])}


def chain(t):
    return both(lambda x, y: torch.exp(-x * x) * y + 0.5 * torch.tanh(x + y), t["x"], t["y"])


def swiglu(t):
    return both(lambda gate, up: F.silu(gate) * up, t["gate"], t["up"])


def add(t):
    x, y = t["x"], t["y"]
    xn, yn = x.numpy(), y.numpy()
    return both(torch.add, x, y) | {"numpy": lambda: xn + yn, "onnxruntime": onnx_op("Add", [xn, yn])}


def cross_entropy(t):
    return both(lambda x, labels: F.cross_entropy(x, labels, reduction="none"), t["x"], t["labels"])


def attention(t):
    q, k, v = (t[n].unsqueeze(0) for n in "qkv")
    causal = "causal" in t
    ours = both(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal), q, k, v)
    ops = [("Attention", ["x0", "x1", "x2"], "", {"is_causal": int(causal)})]
    return ours | {"onnxruntime": onnx_graph(ops, [q.numpy(), k.numpy(), v.numpy()])}


def embedding(t):
    table, ids = t["table"], t["ids"]
    return both(lambda table, ids: F.embedding(ids, table), table, ids) | {
        "numpy": lambda: np.take(table.numpy(), ids.numpy(), 0),
        "onnxruntime": onnx_op("Gather", [table.numpy(), ids.numpy()]),
    }


def segment_sum(t):
    x, ids, start = t["x"], t["ids"].long(), t["start"]
    return both(lambda x, ids, start: torch.index_add(start, 0, ids, x), x, ids, start)


def minilm(t):
    ids, mask = t["ids"], t["mask"]
    import transformers
    from safetensors.torch import load_file
    config = transformers.BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    model = transformers.BertModel(config, add_pooling_layer=False)
    weights = load_file(os.path.join(ROOT, "models/all-MiniLM-L6-v2/model.safetensors"))
    model.load_state_dict({k: v for k, v in weights.items() if not k.startswith("pooler")}, strict=False)

    class Sentences(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = model

        def forward(self, ids, mask):
            hidden = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
            seen = mask.unsqueeze(-1).float()
            return F.normalize((hidden * seen).sum(1) / seen.sum(1), dim=1)

    sentences = Sentences().eval()
    contestants = both(sentences, ids, mask)
    os.makedirs(os.path.join(ROOT, "target/bench"), exist_ok=True)
    path = os.path.join(ROOT, "target/bench/minilm.onnx")
    if not os.path.exists(path):
        axes = {"ids": {0: "n", 1: "length"}, "mask": {0: "n", 1: "length"}}
        names = {"input_names": ["ids", "mask"], "output_names": ["vectors"], "dynamic_axes": axes}
        torch.onnx.export(sentences, (ids, mask), path, dynamo=False, opset_version=17, **names)
    run, feed = loaded(path), {"ids": ids.numpy(), "mask": mask.numpy()}
    return contestants | {"onnxruntime*": lambda: run.run(None, feed)[0]}


CASES = {f.__name__: f for f in (
    matmul, bf16_matmul, batched_matmul, int8_matmul, int4_matmul, softmax, layer_norm, rms_norm, gelu_tanh, gelu_erf, exp, chain,
    swiglu, add, cross_entropy, attention, embedding, segment_sum, minilm)}


# ------------------------------------------------------------------------------------------------------- the race

def read(folder, name, dtype, shape):
    storage, view = DTYPES[dtype]
    flat = np.fromfile(os.path.join(folder, name + ".raw"), storage)
    tensor = torch.from_numpy(flat).reshape(shape).clone()
    return tensor if view is None else tensor.view(view)


def prepare(question):
    global COMPILE
    COMPILE = question["compile"]
    torch._dynamo.reset()
    tensors = {n: read(question["folder"], n, *kind) for n, kind in question["inputs"].items()}
    return CASES[question["case"]](tensors)


def run_once(contestant, folder):
    begin = time.perf_counter()
    result = contestant()
    seconds = time.perf_counter() - begin
    result = torch.from_numpy(result) if isinstance(result, np.ndarray) else result
    result.detach().float().contiguous().numpy().tofile(os.path.join(folder, "output.raw"))
    return seconds


def median_seconds(contestant, budget):
    begin = time.perf_counter()
    contestant()
    first = time.perf_counter() - begin
    if first > 0.15:
        return first
    # Calls of less than a few microseconds are timed many at a time.
    batch = max(1, math.ceil(5e-5 / max(first, 1e-7)))
    times, begin = [], time.perf_counter()
    while len(times) < 2 or time.perf_counter() - begin < budget:
        start = time.perf_counter()
        for _ in range(batch):
            contestant()
        times.append((time.perf_counter() - start) / batch)
    return sorted(times)[len(times) // 2]


def main():
    contestants, folder = {}, None
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if "case" in question:
                contestants, folder = None, question["folder"]
                contestants = prepare(question)
                answer = {"contestants": list(contestants)}
            elif "output" in question:
                answer = {"seconds": run_once(contestants[question["output"]], folder)}
            elif "turn" in question:
                answer = {"seconds": median_seconds(contestants[question["turn"]], question["seconds"])}
            else:
                answer = {"versions": {"PyTorch": torch.__version__, "onnxruntime": onnxruntime.__version__, "numpy": np.__version__}}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        print(json.dumps(answer), file=ANSWERS, flush=True)


if __name__ == "__main__":
    # Libraries may print, down to those in C; the answers go where they cannot.
    ANSWERS = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with torch.inference_mode():
        main()
