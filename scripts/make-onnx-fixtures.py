#!/usr/bin/env python3
"""Turns the ONNX node tests into fixtures for tests/onnx.

Needs `pip install onnx==1.22.0`; the package carries a small model, inputs and outputs for every operator.

    python3 scripts/make-onnx-fixtures.py

writes tests/onnx/cases.txt (one paragraph per case: values and nodes), tests/onnx/data.bin (the bytes of
all tensors, equal ones stored once) and tests/onnx/SCOPE.md (what is left out, and why).

A helion kernel takes tensors, and knows sizes, axes and switches when it is traced. What ONNX passes as a
tensor but a kernel knows on the host (the target of a Reshape, the axes of a reduction, everything computed
from shapes) is therefore evaluated here, with the package's own reference evaluator, and stored as `host`.
"""

import collections
import os
import sys

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

VERSION = "1.22.0"
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = os.path.join(ROOT, "tests", "onnx")

DTYPES = {
    "FLOAT": "f32", "DOUBLE": "f64", "FLOAT16": "f16", "BFLOAT16": "bf16", "BOOL": "bool",
    "INT8": "i8", "INT16": "i16", "INT32": "i32", "INT64": "i64",
    "UINT8": "u8", "UINT16": "u16", "UINT32": "u32", "UINT64": "u64",
    "FLOAT8E4M3FN": "f8e4m3", "FLOAT8E5M2": "f8e5m2",
}

# Operators the suite expresses as tile programs.
IN_SCOPE = set("""
Abs Add And ArgMax ArgMin BatchNormalization BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike
Ceil Celu Clip Concat Constant ConstantOfShape Cos Cosh CumProd CumSum DequantizeLinear Div Dropout Einsum Elu Equal
Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater
GreaterOrEqual HardSigmoid HardSwish Hardmax Identity InstanceNormalization GroupNormalization IsInf IsNaN
LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization MatMul MatMulInteger Max Mean
MeanVarianceNormalization Min Mish Mod Mul Neg NegativeLogLikelihoodLoss Not OneHot Or PRelu Pad Pow Range Reciprocal
ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
Relu Reshape RMSNormalization RotaryEmbedding Round Scatter ScatterElements ScatterND Selu Shrink Sigmoid Sign Sin Sinh
Slice Softmax SoftmaxCrossEntropyLoss Softplus Softsign Split Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Tile
Transpose Trilu Unsqueeze Where Xor Attention QuantizeLinear DepthToSpace SpaceToDepth Acosh Asinh Atanh
""".split())

# Why an operator is left out.
OP_REASONS = {
    "stateful or sequence control flow of a model, not a kernel": "GRU LSTM RNN If Loop Scan SequenceInsert SequenceMap "
        "SplitToSequence OptionalGetElement OptionalHasElement Adagrad Adam Momentum LinearAttention CausalConvWithState",
    "strings": "StringConcat StringNormalizer StringSplit RegexFullMatch TfIdfVectorizer LabelEncoder",
    "inverse trigonometry is not among the elementwise operations": "Acos Asin Atan",
    "windows that slide over an image: convolution and pooling are not kernels of this release":
        "Conv ConvInteger ConvTranspose DeformConv AveragePool MaxPool LpPool MaxUnpool QLinearConv Col2Im LRN RoiAlign",
    "resampling of images": "Resize Upsample GridSample AffineGrid ImageDecoder CenterCropPad",
    "the size of the result depends on the data": "NonZero Unique Compress NonMaxSuppression",
    "sorting": "TopK",
    "signal processing: windows, Fourier transforms": "DFT STFT BlackmanWindow HannWindow HammingWindow MelWeightMatrix",
    "small dense linear algebra without a tile form": "Det",
    "classical machine learning operators": "TreeEnsemble ArrayFeatureExtractor Binarizer",
    "only sizes: host arithmetic, nothing for a kernel to do": "Shape Size",
    "the random stream is the implementation's own": "Bernoulli",
    "score and probability functions are subgraphs; covered by Attention": "FlexAttention",
    "composition of quantisation steps, covered by their parts": "QLinearMatMul DynamicQuantizeLinear",
    "in-place cache update with host-dependent layout, covered by ScatterND": "TensorScatter ReverseSequence",
}
REASON_OF = {op: why for why, ops in OP_REASONS.items() for op in ops.split()}

# Operands that a kernel knows on the host, by operator and position.
HOST = {
    "Reshape": [1], "Expand": [1], "Slice": [1, 2, 3, 4], "Squeeze": [1], "Unsqueeze": [1], "Split": [1], "Tile": [1],
    "CumSum": [1], "CumProd": [1], "Trilu": [1], "OneHot": [1], "Range": [0, 1, 2], "ConstantOfShape": [0],
    "Pad": [1, 2, 3], "Dropout": [1, 2], "Resize": [1, 2, 3], "CenterCropPad": [1],
}
for reduction in "Sum Prod Max Min Mean L1 L2 LogSum LogSumExp SumSquare".split():
    HOST["Reduce" + reduction] = [1]

# Single cases left out, by a part of the name.
CASE_REASONS = [
    ("test_training_dropout", "the random stream is the implementation's own",
     lambda n: "zero_ratio" not in n),
]


class LeftOut(Exception):
    """A case that is not in scope, with the reason."""


def load_tensor(path, type_proto):
    """One stored value: (dtype name, shape, raw bytes, numpy array)."""
    if not type_proto.HasField("tensor_type"):
        raise LeftOut("sequence and optional values")
    t = onnx.TensorProto()
    with open(path, "rb") as f:
        t.ParseFromString(f.read())
    return t


def dtype_name(elem_type):
    name = onnx.TensorProto.DataType.Name(elem_type)
    if name not in DTYPES:
        raise LeftOut("element type " + {"INT4": "int4", "UINT4": "uint4"}.get(name, name.lower()) +
                      " does not exist (4-bit integers are unpacked from bytes by shifts)"
                      if "INT4" in name else "element type " + name.lower() + " does not exist")
    return DTYPES[name]


def pack(array, elem_type):
    """The little-endian bytes of an array."""
    name = dtype_name(elem_type)
    array = np.ascontiguousarray(array)
    data = array.tobytes()
    sizes = {"bool": 1, "i8": 1, "u8": 1, "f8e4m3": 1, "f8e5m2": 1, "i16": 2, "u16": 2, "f16": 2, "bf16": 2,
             "i32": 4, "u32": 4, "f32": 4, "i64": 8, "u64": 8, "f64": 8}
    assert len(data) == array.size * sizes[name], (name, array.dtype, len(data), array.size)
    return data


class Value:
    """A tensor with everything the fixture needs."""

    def __init__(self, array, elem_type=None):
        self.array = np.asarray(array)
        self.elem_type = elem_type or onnx.helper.np_dtype_to_tensor_dtype(self.array.dtype)

    def line(self, data):
        raw = pack(self.array, self.elem_type)
        shape = ",".join(str(d) for d in self.array.shape) or "-"
        return f"{dtype_name(self.elem_type)} {shape} {data.place(raw)}"


class Data:
    """The bytes of all tensors; equal ones are stored once."""

    def __init__(self):
        self.bytes = bytearray()
        self.seen = {}

    def place(self, raw):
        if raw not in self.seen:
            while len(self.bytes) % 8:
                self.bytes.append(0)
            self.seen[raw] = len(self.bytes)
            self.bytes += raw
        return self.seen[raw]


def attributes(node, opsets):
    """All attributes, the schema's defaults included."""
    attrs = {}
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets[node.domain], node.domain)
        for name, a in schema.attributes.items():
            if a.default_value.type:
                attrs[name] = onnx.helper.get_attribute_value(a.default_value)
    except onnx.defs.SchemaError:
        pass
    for a in node.attribute:
        attrs[a.name] = onnx.helper.get_attribute_value(a)
    return attrs


def attribute_text(value):
    if isinstance(value, bytes):
        return "s:" + value.decode()
    if isinstance(value, bool) or isinstance(value, (int, np.integer)):
        return f"i:{int(value)}"
    if isinstance(value, float):
        return f"f:{value!r}"
    if isinstance(value, (list, tuple)) or hasattr(value, "__iter__"):
        value = list(value)
        if all(isinstance(v, int) for v in value):
            return "l:" + ",".join(str(v) for v in value)
    raise LeftOut("attribute with a graph or tensor")


def evaluate(graph, opsets, values, outputs):
    """Fills `values` with every intermediate result, using the stored outputs where they exist."""
    for node in graph.node:
        missing = [o for o in node.output if o and o not in values]
        if not missing:
            continue
        feeds = {i: values[i].array for i in node.input if i}
        model = onnx.helper.make_model(
            onnx.helper.make_graph([node], "one", [onnx.helper.make_value_info(n, onnx.TypeProto()) for n in feeds],
                                   [onnx.helper.make_value_info(o, onnx.TypeProto()) for o in node.output if o]),
            opset_imports=[onnx.helper.make_opsetid(d, v) for d, v in opsets.items()])
        ref = ReferenceEvaluator(model)
        results = ref.run(None, feeds)
        for name, r in zip([o for o in node.output if o], results):
            if isinstance(r, list):
                raise LeftOut("sequence and optional values")
            values.setdefault(name, Value(r))


def host_values(graph, initial):
    """The names a kernel knows when it is traced."""
    wanted = set(initial)
    for node in reversed(graph.node):
        host = node.op_type in ("Constant", "Shape", "Size")
        if any(o in wanted for o in node.output) and not host:
            wanted.update(i for i in node.input if i)
        for position in HOST.get(node.op_type, []):
            if position < len(node.input) and node.input[position]:
                wanted.add(node.input[position])
    # Forwards: what is computed from host values only is one too.
    known = set(wanted)
    for node in graph.node:
        if node.op_type in ("Constant", "Shape", "Size"):
            known.update(node.output)
        elif node.input and all(not i or i in known for i in node.input):
            known.update(node.output)
    return known


def convert(name, folder, data):
    """The paragraph of one case."""
    model = onnx.load(os.path.join(folder, "model.onnx"))
    graph = model.graph
    opsets = {o.domain: o.version for o in model.opset_import}
    for part, why, applies in CASE_REASONS:
        if part in name and applies(name):
            raise LeftOut(why)
    if len(graph.node) == 1 and graph.node[0].op_type not in IN_SCOPE:
        op = graph.node[0].op_type
        raise LeftOut(REASON_OF.get(op) or sys.exit(f"no reason for {op}"))
    values = {}
    for table, kind in ((graph.input, "input"), (graph.output, "output")):
        for i, v in enumerate(table):
            t = load_tensor(os.path.join(folder, "test_data_set_0", f"{kind}_{i}.pb"), v.type)
            dtype_name(t.data_type)
            values[v.name] = Value(numpy_helper.to_array(t), t.data_type)
    for t in graph.initializer:
        values[t.name] = Value(numpy_helper.to_array(t), t.data_type)
    host = host_values(graph, [t.name for t in graph.initializer])
    device = [n for n in graph.node if not all(o in host for o in n.output if o) or
              any(o.name in n.output for o in graph.output)]
    for n in device:
        if n.op_type not in IN_SCOPE:
            raise LeftOut(REASON_OF.get(n.op_type) or f"uses {n.op_type}")
    evaluate(graph, opsets, values, graph.output)
    lines = [f"case {name.removeprefix('test_')}"]
    used = {i for n in device for i in n.input if i}
    short = collections.defaultdict(lambda: f"v{len(short)}")  # Expanded graphs have very long names.
    short.update({v.name: v.name for v in list(graph.input) + list(graph.output)})
    outputs = [v.name for v in graph.output]
    for v in graph.input:
        if v.name in used and v.name not in host:
            lines.append(f"in {short[v.name]} {values[v.name].line(data)}")
    for n in sorted(used & host):
        lines.append(f"host {short[n]} {values[n].line(data)}")
    for o in outputs:
        lines.append(f"out {short[o]} {values[o].line(data)}")
    for n in device:
        attrs = attributes(n, opsets)
        if n.op_type == "Cast":
            attrs["to"] = dtype_name(attrs["to"]).encode()
        if n.op_type == "BitCast":
            attrs["to"] = dtype_name(attrs["to"]).encode()
        if n.op_type == "EyeLike" and "dtype" in attrs:
            attrs["dtype"] = dtype_name(attrs["dtype"]).encode()
        if n.op_type == "Constant":
            attrs = {}
            lines.append(f"host {short[n.output[0]]}.value {values[n.output[0]].line(data)}")
        if n.op_type == "ConstantOfShape":
            value = attrs.pop("value", None)
            fill = Value(numpy_helper.to_array(value), value.data_type) if value else Value(np.zeros(1, np.float32))
            lines.append(f"host {short[n.output[0]]}.value {fill.line(data)}")
        if n.op_type == "Attention" and "softmax_precision" in attrs:
            attrs["softmax_precision"] = dtype_name(attrs["softmax_precision"]).encode()
        text = " ".join(f"{k}={attribute_text(v)}" for k, v in sorted(attrs.items()))
        ins = " ".join(short[i] if i else "-" for i in n.input)
        outs = " ".join(short[o] if o else "-" for o in n.output)
        lines.append(f"node {n.op_type} | {ins} | {outs} | {text}".rstrip())
    for line in lines:
        assert "\n" not in line
    return "\n".join(lines)


def main():
    if onnx.__version__ != VERSION:
        sys.exit(f"needs onnx {VERSION}, found {onnx.__version__}")
    base = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data", "node")
    data, cases, left = Data(), [], collections.defaultdict(list)
    names = sorted(os.listdir(base))
    for name in names:
        try:
            cases.append(convert(name, os.path.join(base, name), data))
        except LeftOut as why:
            left[str(why)].append(name)
    os.makedirs(OUT, exist_ok=True)
    with open(os.path.join(OUT, "cases.txt"), "w") as f:
        f.write(f"# ONNX node tests of onnx {VERSION}, written by scripts/make-onnx-fixtures.py. Do not edit.\n\n")
        f.write("\n\n".join(cases) + "\n")
    with open(os.path.join(OUT, "data.bin"), "wb") as f:
        f.write(data.bytes)
    with open(os.path.join(OUT, "SCOPE.md"), "w") as f:
        f.write("# ONNX node tests: what is left out\n\n")
        f.write(f"Written by `scripts/make-onnx-fixtures.py` from onnx {VERSION}: of {len(names)} cases "
                f"{len(cases)} are in scope and listed with their results in [TABLE.md](TABLE.md); "
                f"{len(names) - len(cases)} are not, for these reasons.\n\n| cases | reason | which |\n|---|---|---|\n")
        for why, which in sorted(left.items(), key=lambda kv: -len(kv[1])):
            shown = ", ".join(w.removeprefix("test_") for w in which)
            f.write(f"| {len(which)} | {why} | {shown} |\n")
    print(f"{len(cases)} cases in scope of {len(names)}, {len(data.bytes)} bytes of data")
    for why, which in sorted(left.items(), key=lambda kv: -len(kv[1])):
        print(f"{len(which):5} {why}: {', '.join(w.removeprefix('test_') for w in which[:6])}")


if __name__ == "__main__":
    main()
