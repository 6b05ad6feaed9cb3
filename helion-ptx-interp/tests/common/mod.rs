//! What the tests share: numbers, buffers, and kernels made of one instruction.
#![allow(dead_code)]

use helion_ptx_interp::{Device, Fault, Module, Report};

/// A small generator of numbers, the same in every run.
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    /// A float in [-1, 1) with few bits, so that sums of products are exact.
    pub fn small(&mut self) -> f32 {
        ((self.bits() >> 40) as i32 % 16 - 8) as f32 / 8.0
    }
    /// Bits in which special values are frequent.
    pub fn edgy(&mut self, width: u32) -> u64 {
        let edges = [0, 1, 2, 31, 32, 33, u64::MAX, i64::MAX as u64, 1 << 63, 0x7fff_ffff, 0x8000_0000, 0xffff, 0x8000];
        let x = match self.bits() % 4 {
            0 => edges[(self.bits() % edges.len() as u64) as usize],
            1 => self.bits() % 256,
            _ => self.bits(),
        };
        if width == 64 { x } else { x & ((1 << width) - 1) }
    }
}

/// A module that has to be right.
pub fn module(text: &str) -> Module {
    match Module::parse(text) {
        Ok(m) => m,
        Err(e) => panic!("{e}: {:?}", text.lines().nth(e.line as usize - 1)),
    }
}

/// A module of PTX for a target, from declarations and entries.
pub fn ptx(target: &str, rest: &str) -> Module {
    module(&format!(".version 8.0\n.target {target}\n.address_size 64\n{rest}"))
}

/// The parameter block of values of 8 bytes.
pub fn params(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Puts values into new memory.
pub fn upload<T: Bytes>(device: &mut Device, values: &[T]) -> u64 {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.bytes()).collect();
    let address = device.alloc(bytes.len());
    device.write(address, &bytes).expect("memory that was just taken");
    address
}

/// Reads values back.
pub fn download<T: Bytes>(device: &Device, address: u64, count: usize) -> Vec<T> {
    let bytes = device.read(address, count * T::SIZE).expect("live memory");
    bytes.chunks(T::SIZE).map(T::of).collect()
}

/// Numbers as bytes.
pub trait Bytes: Copy {
    const SIZE: usize;
    fn bytes(self) -> Vec<u8>;
    fn of(bytes: &[u8]) -> Self;
}

macro_rules! bytes {
    ($($t:ty),*) => { $(
        impl Bytes for $t {
            const SIZE: usize = size_of::<$t>();
            fn bytes(self) -> Vec<u8> { self.to_le_bytes().to_vec() }
            fn of(bytes: &[u8]) -> $t { <$t>::from_le_bytes(bytes.try_into().expect("whole numbers")) }
        }
    )* };
}
bytes!(u8, u16, u32, u64, i32, f32, f64, half::f16, half::bf16);

/// Runs one instruction (or several) on many triples of inputs: `a`, `b`, `c` are registers of `input` bits, `d` is one of
/// `output` bits, `p` and `q` are predicates.
pub fn apply(input: &str, output: &str, code: &str, inputs: &[[u64; 3]]) -> Vec<u64> {
    let bits =
        |ty: &str| ty.trim_start_matches(|c: char| c.is_alphabetic()).parse::<u32>().expect("a type such as b32");
    let load = |reg: &str, at: u32| match bits(input) {
        16 => format!("ld.global.b64 t, [in+{at}]; cvt.u16.u64 {reg}, t;"),
        32 => format!("ld.global.b64 t, [in+{at}]; cvt.u32.u64 {reg}, t;"),
        _ => format!("ld.global.b64 {reg}, [in+{at}];"),
    };
    let store = match bits(output) {
        16 => "cvt.u64.u16 t, d;",
        32 => "cvt.u64.u32 t, d;",
        _ => "mov.b64 t, d;",
    };
    let text = format!(
        ".visible .entry k(.param .u64 input, .param .u64 output) {{
            .reg .{input} a, b, c; .reg .{output} d; .reg .b64 t, in, out; .reg .b32 i; .reg .pred p, q;
            mov.u32 i, %tid.x;
            ld.param.b64 in, [input]; ld.param.b64 out, [output];
            mul.wide.u32 t, i, 24; add.s64 in, in, t;
            mul.wide.u32 t, i, 8; add.s64 out, out, t;
            {} {} {}
            {code}
            {store}
            st.global.b64 [out], t;
            ret; }}",
        load("a", 0),
        load("b", 8),
        load("c", 16)
    );
    let module = ptx("sm_90a", &text);
    let mut device = Device::new();
    let flat: Vec<u64> = inputs.iter().flatten().copied().collect();
    let from = upload(&mut device, &flat);
    let to = device.alloc(inputs.len() * 8);
    run(&mut device, &module, "k", 1, inputs.len() as u32, &params(&[from, to])).expect("a run without fault");
    download(&device, to, inputs.len())
}

/// A launch of a line of blocks.
pub fn run(
    device: &mut Device,
    m: &Module,
    entry: &str,
    blocks: u32,
    threads: u32,
    params: &[u8],
) -> Result<Report, Fault> {
    device.launch(m, entry, [blocks, 1, 1], [threads, 1, 1], 0, params)
}
