//! mbarriers, bulk and tensor copies, and warpgroup products, against plain loops; and what happens when a wait or a fence is
//! left out.

mod common;

use common::{Rng, download, module, params, ptx, run, upload};
use half::{bf16, f16};
use helion_ptx_interp::{Device, Fault, FaultKind, Swizzle, TensorMap, TensorType};

#[test]
fn everything_that_llvm_emits_is_read() {
    let m = module(include_str!("ptx/hopper.sm_90a.ptx"));
    let entry = m.entry("h").expect("the kernel");
    assert_eq!((m.target(), entry.param_bytes(), entry.uses_dynamic_shared()), ("sm_90a", 140, true));
    assert_eq!(entry.params[0].align, 64);
}

/// A ring of one stage between two warps.
fn ring(edit: impl Fn(&str) -> String) -> Result<Vec<u32>, Fault> {
    let text = "
        .visible .entry k(.param .u64 out) {
        .shared .align 8 .b8 full[8]; .shared .align 8 .b8 empty[8]; .shared .align 4 .b8 s[128];
        .reg .b64 o, st; .reg .b32 i, a, v, n, ph; .reg .pred p, q, w;
        ld.param.b64 o, [out]; mov.u32 i, %tid.x; and.b32 a, i, 31; shl.b32 a, a, 2; mov.u32 v, s; add.u32 a, a, v;
        setp.eq.u32 p, i, 0; setp.lt.u32 q, i, 32; mov.u32 n, 0;
        @p mbarrier.init.shared.b64 [full], 32; @p mbarrier.init.shared.b64 [empty], 32;
        bar.sync 0;
        mul.wide.u32 st, i, 4; add.s64 o, o, st;
        @q bra PRODUCE;
        CONSUME: and.b32 ph, n, 1;
        WAIT_FULL: mbarrier.try_wait.parity.shared.b64 w, [full], ph; @!w bra WAIT_FULL;
        ld.shared.b32 v, [a];
        mbarrier.arrive.shared.b64 st, [empty];
        st.global.b32 [o], v; add.s64 o, o, 256;
        add.u32 n, n, 1; setp.lt.u32 w, n, 4; @w bra CONSUME; ret;
        PRODUCE: and.b32 ph, n, 1; xor.b32 ph, ph, 1;
        WAIT_EMPTY: mbarrier.try_wait.parity.shared.b64 w, [empty], ph; @!w bra WAIT_EMPTY;
        mad.lo.u32 v, n, 100, i; st.shared.b32 [a], v;
        mbarrier.arrive.shared.b64 st, [full];
        add.u32 n, n, 1; setp.lt.u32 w, n, 4; @w bra PRODUCE;
        ret; }";
    let m = ptx("sm_90a", &edit(text));
    let mut device = Device::new();
    let out = device.alloc(4 * 256);
    run(&mut device, &m, "k", 1, 64, &params(&[out]))?;
    Ok(download::<u32>(&device, out, 256).chunks(64).flat_map(|c| c[32..].to_vec()).collect())
}

#[test]
fn a_ring_between_warps() {
    let got = ring(str::to_string).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(got, (0..128).map(|i| i / 32 * 100 + i % 32).collect::<Vec<u32>>());
    let kind = |from: &str, to: &str| ring(|t| t.replacen(from, to, 1)).expect_err(from).kind;
    // Nobody waits for the data, nobody waits for the room, nobody says that there is room.
    assert!(matches!(kind("@!w bra WAIT_FULL;", ""), FaultKind::Race | FaultKind::Uninitialised));
    assert_eq!(kind("@!w bra WAIT_EMPTY;", ""), FaultKind::Race);
    assert_eq!(kind("mbarrier.arrive.shared.b64 st, [empty];", ""), FaultKind::Deadlock);
    assert_eq!(kind("@p mbarrier.init.shared.b64 [full], 32;", ""), FaultKind::Uninitialised);
    assert_eq!(kind("[full], 32;", "[full], 33;"), FaultKind::Deadlock);
    assert_eq!(kind("arrive.shared.b64 st, [full];", "arrive.shared.b64 st, [full], 33;"), FaultKind::Misuse);
    assert!(matches!(kind("bar.sync 0;", ""), FaultKind::Race | FaultKind::Uninitialised));
}

/// Loads one box of a tensor into shared memory, copies the memory as it lies there to `raw`, and stores it as a box of a second
/// tensor at the same coordinates.
fn box_kernel(rank: usize, bytes: usize) -> String {
    let coords = ["c0", "c1", "c2", "c3", "c4"][..rank].join(", ");
    format!(
        ".visible .entry k(.param .align 64 .b8 from[128], .param .align 64 .b8 to[128], .param .u64 raw, .param .align 4 .b8 at[20]) {{
        .shared .align 1024 .b8 s[{bytes}]; .shared .align 8 .b8 bar[8];
        .reg .b64 f, t, r, x, y, st; .reg .b32 i, a, v, c<5>; .reg .pred p, w;
        mov.u32 i, %tid.x; setp.eq.u32 p, i, 0; mov.b64 f, from; cvta.param.u64 f, f; mov.b64 t, to; cvta.param.u64 t, t;
        ld.param.b64 r, [raw];
        ld.param.b32 c0, [at]; ld.param.b32 c1, [at+4]; ld.param.b32 c2, [at+8]; ld.param.b32 c3, [at+12]; ld.param.b32 c4, [at+16];
        @p mbarrier.init.shared.b64 [bar], 1; fence.mbarrier_init.release.cluster; bar.sync 0;
        @!p bra WAIT;
        prefetch.tensormap [f];
        mbarrier.arrive.expect_tx.shared.b64 st, [bar], {bytes};
        cp.async.bulk.tensor.{rank}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [s], [f, {{{coords}}}], [bar];
        WAIT: mbarrier.try_wait.parity.shared.b64 w, [bar], 0; @!w bra WAIT;
        mov.u32 a, i;
        COPY: setp.ge.u32 w, a, {bytes}; @w bra DONE;
        cvt.u64.u32 x, a; mov.b64 y, s; add.s64 y, y, x; ld.shared.u8 v, [y]; add.s64 y, r, x; st.global.u8 [y], v; add.u32 a, a, 32; bra COPY;
        DONE: @!p ret;
        cp.async.bulk.tensor.{rank}d.global.shared::cta.tile.bulk_group [t, {{{coords}}}], [s];
        cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 0;
        ret; }}"
    )
}

/// What the map of a small tensor is.
fn map(element: TensorType, address: u64, extents: &[u64], box_extents: &[u32], swizzle: Swizzle) -> TensorMap {
    let mut stride = element.bytes() as u64;
    let mut strides = Vec::new();
    for e in &extents[..extents.len() - 1] {
        stride = (stride * e).next_multiple_of(16);
        strides.push(stride);
    }
    TensorMap {
        element,
        address,
        extents: extents.to_vec(),
        strides,
        box_extents: box_extents.to_vec(),
        element_strides: vec![1; extents.len()],
        swizzle,
    }
}

/// Tests one box; the tensor's elements are bytes or pairs of bytes with values that differ.
fn one_box(element: TensorType, extents: &[u64], box_extents: &[u32], swizzle: Swizzle, at: &[i32]) {
    let rank = extents.len();
    let size = element.bytes();
    let probe = map(element, 0, extents, box_extents, swizzle);
    let pitch = |d: usize| if d == 0 { size as u64 } else { probe.strides[d - 1] };
    let total = (pitch(rank - 1) * extents[rank - 1]) as usize;
    let mut rng = Rng(9);
    let tensor: Vec<u8> = (0..total).map(|_| rng.bits() as u8).collect();
    let bytes = probe.box_bytes();
    let m = ptx("sm_90a", &box_kernel(rank, bytes));
    let mut device = Device::new();
    let (from, to, raw) = (upload(&mut device, &tensor), upload(&mut device, &vec![0u8; total]), device.alloc(bytes));
    let mut block = Vec::new();
    for address in [from, to] {
        block.extend(map(element, address, extents, box_extents, swizzle).encode().expect("a right map"));
    }
    block.extend(raw.to_le_bytes());
    (0..5).for_each(|i| block.extend(at.get(i).copied().unwrap_or(0).to_le_bytes()));
    run(&mut device, &m, "k", 1, 32, &block).unwrap_or_else(|e| panic!("{e}"));
    let image = download::<u8>(&device, raw, bytes);
    let mut stored = vec![0u8; total];
    let row_bytes = box_extents[0] as usize * size;
    for n in 0..bytes / size {
        // The index of the element in the box, and its place in the tensor.
        let (mut rest, mut place, mut inside) = (n, 0, true);
        for d in 0..rank {
            let x = i64::from(at[d]) + (rest % box_extents[d] as usize) as i64;
            rest /= box_extents[d] as usize;
            inside &= x >= 0 && (x as u64) < extents[d];
            place += x * pitch(d) as i64;
        }
        // A row of the box, and the piece of 16 bytes in it; pieces are permuted within the rows of the swizzle.
        let (row, column) = (n * size / row_bytes, n * size % row_bytes);
        let shift = match swizzle {
            Swizzle::None => 0,
            Swizzle::B128 => row % 8,
            Swizzle::B64 => row / 2 % 4,
            Swizzle::B32 => row / 4 % 2,
        };
        let piece = (column / 16) ^ shift;
        let lies = row * row_bytes + piece * 16 + column % 16;
        for b in 0..size {
            let want = if inside { tensor[place as usize + b] } else { 0 };
            assert_eq!(image[lies + b], want, "{element:?} {box_extents:?} {swizzle:?} at {at:?}: element {n}");
            if inside {
                stored[place as usize + b] = want;
            }
        }
    }
    assert_eq!(download::<u8>(&device, to, total), stored, "what was stored");
}

#[test]
fn boxes_of_tensors() {
    one_box(TensorType::Bf16, &[128, 40], &[64, 16], Swizzle::B128, &[64, 8]);
    one_box(TensorType::Bf16, &[100, 37], &[64, 16], Swizzle::B128, &[64, 30]);
    one_box(TensorType::F16, &[96, 40], &[32, 32], Swizzle::B64, &[-8, -3]);
    one_box(TensorType::F32, &[64, 16], &[8, 16], Swizzle::B32, &[16, 4]);
    one_box(TensorType::U8, &[64, 16], &[32, 4], Swizzle::None, &[48, 14]);
    one_box(TensorType::F32, &[64], &[32], Swizzle::None, &[40]);
    one_box(TensorType::Bf16, &[16, 3, 5, 2], &[16, 2, 3, 2], Swizzle::B32, &[0, 2, 3, 0]);
    one_box(TensorType::U8, &[16, 3, 5, 2, 3], &[16, 2, 3, 2, 2], Swizzle::None, &[0, 1, 3, 1, 2]);
}

#[test]
fn maps_that_the_driver_refuses() {
    let good = map(TensorType::Bf16, 1 << 32, &[64, 64], &[64, 64], Swizzle::B128);
    assert_eq!(TensorMap::decode(&good.encode().expect("right")), Some(good.clone()));
    let bad: [fn(&mut TensorMap); 7] = [
        |m| m.address += 8,
        |m| m.strides[0] = 100,
        |m| m.box_extents[0] = 128,
        |m| m.box_extents[0] = 4,
        |m| m.box_extents[1] = 512,
        |m| m.element_strides[1] = 9,
        |m| m.extents.push(1),
    ];
    for change in bad {
        let mut map = good.clone();
        change(&mut map);
        assert!(map.encode().is_err(), "{map:?}");
    }
    assert_eq!(TensorMap::decode(&[0; 128]), None);
}

/// How an operand of a warpgroup product lies in shared memory.
#[derive(Clone, Copy)]
struct Layout {
    swizzle: Swizzle,
    transposed: bool,
}

impl Layout {
    /// Leading and stride offset, and the address of an element; `rows` by `depth` elements of `size` bytes.
    fn place(self, size: usize, rows: usize, depth: usize, row: usize, k: usize) -> (usize, usize, usize) {
        let width = self.swizzle.row().unwrap_or(16);
        let swizzle = |row: usize, column: usize| {
            let shift = match self.swizzle {
                Swizzle::None => 0,
                Swizzle::B128 => row % 8,
                Swizzle::B64 => row / 2 % 4,
                Swizzle::B32 => row / 4 % 2,
            };
            row * width + ((column / 16) ^ shift) * 16 + column % 16
        };
        if self.transposed {
            // Blocks as wide as the swizzle, in each the depth goes down: what a tensor copy of a row-major matrix leaves.
            let (block, column) = (row * size / width, row * size % width);
            let place = block * width * depth + swizzle(k, column);
            match self.swizzle {
                Swizzle::None => (8 * width, width * depth, place),
                _ => (width * depth, 8 * width, place),
            }
        } else {
            let (block, column) = (k * size / width, k * size % width);
            (width * rows, 8 * width, block * width * rows + swizzle(row, column))
        }
    }
}

/// A product of 64 rows with `n` columns and a depth of 32 bytes, in `steps` instructions, or the fault of an edited kernel.
#[allow(clippy::too_many_arguments)]
fn group_product(
    ty: &str,
    sum: &str,
    n: usize,
    steps: usize,
    a: Layout,
    b: Layout,
    from_registers: bool,
    edit: impl Fn(String) -> String,
) -> Result<(), Fault> {
    let size = match ty {
        "f16" | "bf16" => 2,
        "tf32" => 4,
        _ => 1,
    };
    let per_step = 32 / size;
    let depth = per_step * steps;
    let mut rng = Rng(n as u64 + 1);
    let mut number = || ((rng.small() * 8.0) as i32) as f32;
    let left: Vec<f32> = (0..64 * depth).map(|_| number()).collect();
    let right: Vec<f32> = (0..n * depth).map(|_| number()).collect();
    let encode = |x: f32| -> Vec<u8> {
        match ty {
            "f16" => f16::from_f32(x).to_le_bytes().to_vec(),
            "bf16" => bf16::from_f32(x).to_le_bytes().to_vec(),
            "tf32" => x.to_le_bytes().to_vec(),
            "s8" => vec![x as i8 as u8],
            // Small integers have few bits: an f16 cut in half is exact.
            _ => f16::from_f32(x).to_le_bytes()[1..].to_vec(),
        }
    };
    let image = |layout: Layout, rows: usize, values: &[f32]| {
        let mut image = vec![0u8; rows * depth * size];
        for row in 0..rows {
            for k in 0..depth {
                let (_, _, at) = layout.place(size, rows, depth, row, k);
                image[at..at + size].copy_from_slice(&encode(values[row * depth + k]));
            }
        }
        image
    };
    let (ia, ib) = (image(a, 64, &left), image(b, n, &right));
    let registers = if sum == "f16" { n / 4 } else { n / 2 };
    let accumulators = (0..registers).map(|i| format!("d{i}")).collect::<Vec<_>>().join(", ");
    let descriptor = |layout: Layout, rows: usize, step: usize, base: usize| -> u64 {
        let (leading, stride, start) = layout.place(size, rows, depth, 0, 0);
        let (_, _, first) = layout.place(size, rows, depth, 0, step * per_step);
        // Steps inside of a swizzled row begin in its middle: the pieces of row zero are not permuted.
        let mode = match layout.swizzle {
            Swizzle::None => 0u64,
            Swizzle::B128 => 1,
            Swizzle::B64 => 2,
            Swizzle::B32 => 3,
        };
        mode << 62 | ((stride as u64) >> 4) << 32 | ((leading as u64) >> 4) << 16 | ((base + first - start) as u64) >> 4
    };
    let flags = match (sum, size, from_registers) {
        ("s32", ..) => String::new(),
        (_, 2, true) => format!(", 1, 1, {}", u8::from(b.transposed)),
        (_, 2, false) => format!(", 1, 1, {}, {}", u8::from(a.transposed), u8::from(b.transposed)),
        _ => ", 1, 1".into(),
    };
    let products: String = (0..steps)
        .map(|s| {
            let first = if from_registers { format!("{{a{}, a{}, a{}, a{}}}", 4 * s, 4 * s + 1, 4 * s + 2, 4 * s + 3) } else { format!("{}", descriptor(a, 64, s, 0)) };
            format!(
                "wgmma.mma_async.sync.aligned.m64n{n}k{per_step}.{sum}.{ty}.{ty} {{{accumulators}}}, {first}, {}, {}{flags};\n",
                descriptor(b, n, s, ia.len().next_multiple_of(1024)),
                u8::from(s > 0)
            )
        })
        .collect();
    // The first operand in registers: each lane loads the words of its rows from global memory.
    let words: String = (0..4 * steps)
        .map(|r| format!("ld.global.b32 a{r}, [w+{}];\n", (r % 2) * 8 * depth * size + (r / 2) * 16))
        .collect();
    let stores: String = (0..registers).map(|r| format!("st.global.b32 [o+{}], d{r};\n", 4 * r)).collect();
    let text = format!(
        ".visible .entry k(.param .u64 pa, .param .u64 pb, .param .u64 out, .param .u64 rows) {{
        .extern .shared .align 1024 .b8 s[]; .shared .align 1024 .b8 bar[1024];
        .reg .b64 a, b, o, w, x, st; .reg .b32 i, y, d<128>, a<32>; .reg .pred p, q;
        ld.param.b64 a, [pa]; ld.param.b64 b, [pb]; ld.param.b64 o, [out]; ld.param.b64 w, [rows];
        mov.u32 i, %tid.x; mul.wide.u32 x, i, {}; add.s64 o, o, x;
        shr.u32 y, i, 5; mul.lo.u32 y, y, 16; and.b32 d0, i, 31; shr.u32 d0, d0, 2; add.u32 y, y, d0; mul.wide.u32 x, y, {}; add.s64 w, w, x;
        and.b32 y, i, 3; mul.wide.u32 x, y, 4; add.s64 w, w, x;
        setp.eq.u32 p, i, 0;
        @p mbarrier.init.shared.b64 [bar], 1; fence.mbarrier_init.release.cluster; bar.sync 0;
        @p mbarrier.arrive.expect_tx.shared.b64 st, [bar], {};
        @p cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [a], {}, [bar];
        @p cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s+{}], [b], {}, [bar];
        WAIT: mbarrier.try_wait.parity.shared.b64 q, [bar], 0; @!q bra WAIT;
        {words}
        wgmma.fence.sync.aligned;
        {products}
        wgmma.commit_group.sync.aligned;
        wgmma.wait_group.sync.aligned 0;
        {stores}
        ret; }}",
        4 * registers,
        depth * size,
        ia.len() + ib.len(),
        ia.len(),
        ia.len().next_multiple_of(1024),
        ib.len(),
    );
    // Descriptors name shared addresses, which begin after the mbarrier's 1 KiB.
    let m = ptx("sm_90a", &shift_descriptors(&edit(text)));
    let mut device = Device::new();
    let plain: Vec<u8> = left.iter().flat_map(|x| encode(*x)).collect();
    let (pa, pb, rows) = (upload(&mut device, &ia), upload(&mut device, &ib), upload(&mut device, &plain));
    let out = device.alloc(128 * registers * 4);
    let dynamic = (ia.len().next_multiple_of(1024) + ib.len()) as u32;
    device.launch(&m, "k", [1, 1, 1], [128, 1, 1], dynamic, &params(&[pa, pb, out, rows]))?;
    let got = download::<u32>(&device, out, 128 * registers);
    for thread in 0..128 {
        for i in 0..n / 2 {
            let row = thread / 32 * 16 + thread % 32 / 4 + 8 * (i / 2 % 2);
            let column = i / 4 * 8 + thread % 4 * 2 + i % 2;
            let want: f32 = (0..depth).map(|k| left[row * depth + k] * right[column * depth + k]).sum();
            let x = match sum {
                "f16" => f16::from_bits((got[thread * registers + i / 2] >> (16 * (i % 2))) as u16).to_f32(),
                "s32" => got[thread * registers + i] as i32 as f32,
                _ => f32::from_bits(got[thread * registers + i]),
            };
            assert_eq!(x, want, "{ty} {sum} n{n}: row {row}, column {column}");
        }
    }
    Ok(())
}

/// Adds 1 KiB to the addresses in descriptors, which are the long numbers of the text.
fn shift_descriptors(text: &str) -> String {
    let mut out = String::new();
    for piece in text.split_inclusive([' ', ',']) {
        let digits = piece.trim_end_matches([' ', ',']);
        match digits.parse::<u64>() {
            Ok(d) if d > 1 << 33 => out.push_str(&format!("{}{}", d + (1024 >> 4), &piece[digits.len()..])),
            _ => out.push_str(piece),
        }
    }
    out
}

const K128: Layout = Layout { swizzle: Swizzle::B128, transposed: false };
const K64: Layout = Layout { swizzle: Swizzle::B64, transposed: false };
const K32: Layout = Layout { swizzle: Swizzle::B32, transposed: false };
const K0: Layout = Layout { swizzle: Swizzle::None, transposed: false };
const T128: Layout = Layout { swizzle: Swizzle::B128, transposed: true };
const T64: Layout = Layout { swizzle: Swizzle::B64, transposed: true };
const T32: Layout = Layout { swizzle: Swizzle::B32, transposed: true };
const T0: Layout = Layout { swizzle: Swizzle::None, transposed: true };

fn right(ty: &str, sum: &str, n: usize, steps: usize, a: Layout, b: Layout, from_registers: bool) {
    if let Err(e) = group_product(ty, sum, n, steps, a, b, from_registers, |t| t) {
        panic!("{ty} {sum} n{n}: {e}");
    }
}

#[test]
fn warpgroup_products_of_all_types() {
    right("bf16", "f32", 128, 4, K128, K128, false);
    right("f16", "f16", 64, 4, K128, K128, false);
    right("tf32", "f32", 32, 4, K128, K128, false);
    right("s8", "s32", 16, 4, K128, K128, false);
    right("e5m2", "f32", 8, 4, K128, K128, false);
}

#[test]
fn warpgroup_products_of_all_layouts() {
    right("bf16", "f32", 16, 2, K64, K64, false);
    right("bf16", "f32", 16, 1, K32, K32, false);
    right("bf16", "f32", 24, 2, K0, K0, false);
    right("f16", "f32", 128, 2, K64, T128, false);
    right("f16", "f32", 64, 2, T128, T64, false);
    right("f16", "f32", 32, 2, T64, T32, false);
    right("f16", "f32", 16, 2, T32, T0, false);
    right("f16", "f32", 8, 2, T0, K0, false);
    right("bf16", "f32", 64, 4, K128, T128, true);
    right("s8", "s32", 16, 2, K64, K64, true);
}

#[test]
fn warpgroup_products_with_a_mistake() {
    let kind = |from: &str, to: &str, registers: bool| {
        let edited = |t: String| {
            assert!(t.contains(from), "`{from}`");
            t.replacen(from, to, 1)
        };
        match group_product("bf16", "f32", 16, 4, K128, K128, registers, edited) {
            Err(f) => f.kind,
            Ok(()) => panic!("`{from}` -> `{to}` went well"),
        }
    };
    assert_eq!(kind("wgmma.wait_group.sync.aligned 0;", "", false), FaultKind::NotArrived);
    assert_eq!(
        kind("wgmma.wait_group.sync.aligned 0;", "wgmma.wait_group.sync.aligned 1;", false),
        FaultKind::NotArrived
    );
    assert_eq!(kind("wgmma.commit_group.sync.aligned;", "", false), FaultKind::NotArrived);
    assert_eq!(
        kind("wgmma.commit_group.sync.aligned;", "add.f32 d1, d1, d1; wgmma.commit_group.sync.aligned;", false),
        FaultKind::NotArrived
    );
    assert_eq!(kind("wgmma.fence.sync.aligned;", "", false), FaultKind::Misuse);
    assert_eq!(
        kind("wgmma.fence.sync.aligned;", "wgmma.fence.sync.aligned; add.u32 a0, a0, 0;", true),
        FaultKind::Misuse
    );
    assert!(matches!(kind("@!q bra WAIT;", "", false), FaultKind::Race | FaultKind::NotArrived));
    let write = "st.shared.b32 [s], 1; wgmma.fence.sync.aligned;";
    assert_eq!(
        kind("wgmma.fence.sync.aligned;", &format!("bar.sync 0; @p {write} bar.sync 0;"), false),
        FaultKind::Proxy
    );
    let late = "wgmma.commit_group.sync.aligned; bar.sync 0; @p st.shared.b32 [s], 12345;";
    assert_eq!(kind("wgmma.commit_group.sync.aligned;", late, false), FaultKind::NotArrived);
    assert_eq!(kind("[s], [a]", "[s+8], [a]", false), FaultKind::Misaligned);
    assert_eq!(
        kind("cp.async.bulk.shared", "mbarrier.inval.shared.b64 [bar]; @p cp.async.bulk.shared", false),
        FaultKind::Misuse
    );
}

#[test]
fn accumulators_may_be_copied_and_chained() {
    // What LLVM writes between two products: plain copies of the registers, which the assembler removes.
    let copies = |t: String| {
        let moves: String = (0..8).map(|i| format!("mov.b32 d{}, d{i};", 64 + i)).collect::<String>()
            + &(0..8).map(|i| format!("mov.b32 d{i}, d{};", 64 + i)).collect::<String>();
        t.replacen(", 1, 1, 0, 0;\n", &format!(", 1, 1, 0, 0;\n{moves}"), 1)
    };
    group_product("bf16", "f32", 16, 4, K128, K128, false, copies).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_store_that_is_not_waited_for() {
    let text = |middle: &str| {
        format!(
            ".visible .entry k(.param .u64 out) {{
            .shared .align 128 .b8 s[128]; .reg .b64 o; .reg .b32 i, a; .reg .pred p;
            ld.param.b64 o, [out]; mov.u32 i, %tid.x; setp.eq.u32 p, i, 0; shl.b32 a, i, 2; mov.u32 i, s; add.u32 a, a, i;
            st.shared.b32 [a], a; fence.proxy.async; bar.sync 0;
            @!p ret;
            cp.async.bulk.global.shared::cta.bulk_group [o], [s], 128;
            cp.async.bulk.commit_group; {middle} ret; }}"
        )
    };
    let run_it = |text: &str| {
        let m = ptx("sm_90a", text);
        let mut device = Device::new();
        let out = device.alloc(128);
        run(&mut device, &m, "k", 1, 32, &params(&[out])).map(|_| download::<u32>(&device, out, 32))
    };
    let good = text("cp.async.bulk.wait_group.read 0;");
    assert_eq!(run_it(&good).unwrap_or_else(|e| panic!("{e}")), (0..32).map(|i| 4 * i).collect::<Vec<u32>>());
    let kind = |t: &str| run_it(t).expect_err("a mistake").kind;
    assert_eq!(kind(&text("")), FaultKind::NotArrived);
    assert_eq!(kind(&text("st.shared.b32 [s], 77; cp.async.bulk.wait_group.read 0;")), FaultKind::NotArrived);
    assert_eq!(kind(&good.replace("fence.proxy.async;", "")), FaultKind::Proxy);
}
