//! Packing of operand panels, with conversion to the accumulator's type.
//!
//! A panel is `[k][width]`: for each step of `k`, `width` elements of the minor index (rows of the left
//! operand, columns of the right one), zeros beyond `count`.

use super::driver::Number;
use super::panels::Panels;
use crate::cpu::vector::Isa;
use crate::cpu::vector::ir::Packed;
use half::f16;
use half::slice::HalfFloatSliceExt;
use helion_ir::dtype::{DType, Literal};
use std::sync::OnceLock;

/// Neighbouring elements that are moved together.
const RUN: usize = 16;

/// How many rows of the source ahead are fetched, where the minor index is adjacent: rows may lie further apart than the
/// machine looks by itself.
const AHEAD: isize = 12;

/// The widest vectors that copies here are compiled for and the machine has.
#[cfg(target_arch = "x86_64")]
fn widest() -> Isa {
    static WIDEST: OnceLock<Isa> = OnceLock::new();
    let has = |isa: &Isa| isa.available();
    *WIDEST.get_or_init(|| [Isa::Avx512, Isa::Avx2].into_iter().find(has).unwrap_or(Isa::Clif128))
}

/// Defines `$name`, which runs the always inlined `$plain` with the widest vectors of the machine.
macro_rules! widened {
    ($(#[$doc:meta])* fn $name:ident$(<$t:ident>)?($($arg:ident: $ty:ty),* $(,)?) = $plain:ident) => {
        $(#[$doc])*
        pub(super) unsafe fn $name$(<$t: Number>)?($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
                unsafe fn avx512$(<$t: Number>)?($($arg: $ty),*) {
                    // SAFETY: by the caller's promise.
                    unsafe { $plain($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                unsafe fn avx2$(<$t: Number>)?($($arg: $ty),*) {
                    // SAFETY: by the caller's promise.
                    unsafe { $plain($($arg),*) }
                }
                match widest() {
                    // SAFETY: the caller's promise, and the machine has the instructions.
                    Isa::Amx | Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    Isa::Clif128 => {}
                }
            }
            // SAFETY: by the caller's promise.
            unsafe { $plain($($arg),*) }
        }
    };
}

/// The minor index of a panel.
#[derive(Clone, Copy)]
pub(super) struct Minor {
    /// How many exist.
    pub count: usize,
    /// How many the panel has.
    pub width: usize,
    /// Bytes from one to the next in the source.
    pub stride: isize,
}

/// What a panel is packed from.
#[derive(Clone, Copy)]
pub(super) struct Source {
    /// The first element.
    pub at: *const u8,
    /// Element type.
    pub from: DType,
    /// Rows or columns.
    pub minor: Minor,
    /// Bytes per step of `k`.
    pub step: isize,
    /// Steps of `k`.
    pub k: usize,
}

widened! {
    /// Packs one panel.
    ///
    /// # Safety
    /// `count` by `k` elements of type `from` lie at the source; `width * k` elements fit at `to`.
    fn pack<T>(source: Source, to: *mut T) = pack_plain
}

#[inline(always)]
unsafe fn pack_plain<T: Number>(source: Source, to: *mut T) {
    let Source { at: source, from, minor, step, k } = source;
    // SAFETY: of all arms by the caller's promise; the arm fits the source's type, and `T` is the type tested.
    macro_rules! go {
        ($source:ty, $to:ty, $convert:expr) => {
            go!($source, $to, false, $convert)
        };
        ($source:ty, $to:ty, $words:expr, $convert:expr) => {
            // SAFETY: the caller's promises about `source` and `to` are those of `pack_as`; the arm fixes both types.
            unsafe { pack_as::<$source, $to>(source, minor, step, k, to.cast(), $words, $convert) }
        };
    }
    match (T::DTYPE, from) {
        (DType::F32, DType::F32) => go!(f32, f32, true, |x| x),
        (DType::F32, DType::BF16) => go!(u16, f32, |x| f32::from_bits(u32::from(x) << 16)),
        // SAFETY: as above.
        (DType::F32, DType::F16) => unsafe { pack_f16(source, minor, step, k, to.cast()) },
        (DType::F32, DType::I8) => go!(i8, f32, f32::from),
        (DType::F32, DType::U8) => go!(u8, f32, f32::from),
        (DType::F32, DType::I16) => go!(i16, f32, f32::from),
        (DType::F32, DType::U16) => go!(u16, f32, f32::from),
        (DType::F32, small) => {
            let table = values_of(small);
            go!(u8, f32, |x| table[usize::from(x)])
        }
        (DType::F64, DType::F32) => go!(f32, f64, f64::from),
        (DType::F64, _) => go!(f64, f64, |x| x),
        (_, DType::I8) => go!(i8, i32, i32::from),
        (_, DType::U8) => go!(u8, i32, i32::from),
        (_, DType::I16) => go!(i16, i32, i32::from),
        (_, DType::U16) => go!(u16, i32, i32::from),
        (_, _) => go!(i32, i32, true, |x| x),
    }
}

/// Which operand a panel is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Its minor index are rows.
    Left,
    /// Its minor index are columns.
    Right,
}

widened! {
    /// Packs one panel whose 32-bit lanes hold several steps of `k` each, zeros beyond the last.
    ///
    /// Of 8-bit integers, the right operand is moved up by 128 to be unsigned; what that adds to the sums, 128 times the
    /// sum of a row of the left operand, is taken off where they begin: its panel starts with a word for each row.
    ///
    /// # Safety
    /// As of [`pack`]; a lane is one element, and there is room for the words for rows.
    fn pack_lanes(source: Source, to: *mut u32, panels: Panels, side: Side) = pack_lanes_plain
}

#[inline(always)]
unsafe fn pack_lanes_plain(source: Source, to: *mut u32, panels: Panels, side: Side) {
    let Source { at: source, from, minor, step, k } = source;
    let offset = panels == Panels::Lanes(Packed::I8);
    let headed = offset && side == Side::Left;
    let flip = if offset && side == Side::Right { 0x8080_8080 } else { 0 };
    let body = if headed { to.wrapping_add(minor.width) } else { to };
    // SAFETY: of all arms by the caller's promise; the arm fits the source's type.
    unsafe {
        match (panels.per_lane(), from) {
            (4, _) => pack_lanes_of::<u8, 4>(source, minor, step, k, body, flip, true, u32::from),
            (_, DType::I8) => {
                pack_lanes_of::<i8, 2>(source, minor, step, k, body, 0, false, |x| u32::from(i16::from(x) as u16));
            }
            (_, DType::U8) => pack_lanes_of::<u8, 2>(source, minor, step, k, body, 0, false, u32::from),
            (_, _) => pack_lanes_of::<u16, 2>(source, minor, step, k, body, 0, true, u32::from),
        }
        if headed {
            let width = minor.width;
            std::slice::from_raw_parts_mut(to, width).fill(0);
            let sums = std::slice::from_raw_parts_mut(to, width);
            for words in std::slice::from_raw_parts(body, k.div_ceil(4) * width).chunks_exact(width) {
                for (sum, word) in sums.iter_mut().zip(words) {
                    let bytes = word.to_le_bytes().map(|b| i32::from(b as i8));
                    *sum = sum.wrapping_sub((128 * (bytes[0] + bytes[1] + bytes[2] + bytes[3])) as u32);
                }
            }
        }
    }
}

/// Packs `PER` steps of `k` into each lane. Where `as_is`, an element has the bits that its part of a lane gets, before
/// `flip` turns some.
#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn pack_lanes_of<S: Copy, const PER: usize>(
    source: *const u8,
    minor: Minor,
    step: isize,
    k: usize,
    to: *mut u32,
    flip: u32,
    as_is: bool,
    bits: impl Fn(S) -> u32,
) {
    let Minor { count, width, stride } = minor;
    let (size, whole, left) = (size_of::<S>() as isize, k / PER, k % PER);
    // SAFETY: `i < count`, and the steps of lane `g` exist up to `most`.
    let lane = |i: usize, g: usize, most: usize| unsafe {
        (0..most).fold(0, |word, e| {
            let at = source.offset(i as isize * stride + (g * PER + e) as isize * step).cast::<S>();
            word | bits(at.read_unaligned()) << (e * 32 / PER)
        }) ^ flip
    };
    if stride == size {
        for g in 0..whole {
            for e in 0..PER {
                fetch(source.wrapping_offset((g * PER + e) as isize * step + AHEAD * step).cast::<S>(), count);
            }
            let runs = count / RUN * RUN;
            for i in (0..runs).step_by(RUN) {
                let mut words = [0u32; RUN];
                for e in 0..PER {
                    let row = source.wrapping_offset((g * PER + e) as isize * step).cast::<S>();
                    // SAFETY: a run of elements of step `e` of lane `g`, which exist.
                    let part = unsafe { row.add(i).cast::<[S; RUN]>().read_unaligned() };
                    for (word, x) in words.iter_mut().zip(part) {
                        *word |= bits(x) << (e * 32 / PER);
                    }
                }
                words.iter_mut().for_each(|w| *w ^= flip);
                // SAFETY: inside the panel.
                unsafe { to.add(g * width + i).cast::<[u32; RUN]>().write_unaligned(words) };
            }
            for i in runs..count {
                // SAFETY: inside the panel.
                unsafe { *to.add(g * width + i) = lane(i, g, PER) };
            }
        }
    } else if step == size && as_is {
        // Lanes lie in the source as they will in the panel.
        // SAFETY: by the caller's promise.
        unsafe { pack_as::<u32, i32>(source, minor, 4, whole, to.cast(), flip == 0, |x| (x ^ flip) as i32) };
    } else {
        for g0 in (0..whole).step_by(8) {
            for i in 0..count {
                for g in g0..(g0 + 8).min(whole) {
                    // SAFETY: inside the panel.
                    unsafe { *to.add(g * width + i) = lane(i, g, PER) };
                }
            }
        }
    }
    for i in 0..count {
        if left > 0 {
            // SAFETY: the last lane of the panel.
            unsafe { *to.add(whole * width + i) = lane(i, whole, left) };
        }
    }
    for g in 0..k.div_ceil(PER) {
        for i in count..width {
            // SAFETY: inside the panel.
            unsafe { *to.add(g * width + i) = 0 };
        }
    }
}

/// Packs rows of the left operand for the matrix unit: 64 bytes of each row, then the next 64, zeros beyond the last step
/// and row. An element has `size` bytes.
///
/// # Safety
/// `count` by `k` elements lie at the source; `width` times as many blocks of 64 bytes fit at `to`.
pub(super) unsafe fn pack_rows_of_bytes(
    source: *const u8,
    size: usize,
    minor: Minor,
    step: isize,
    k: usize,
    to: *mut u8,
) {
    const LINE: usize = 64;
    let Minor { count, width, stride } = minor;
    for k0 in (0..k).step_by(LINE / size) {
        let kb = (LINE / size).min(k - k0);
        // SAFETY: the panel has so many lines.
        let lines = unsafe { std::slice::from_raw_parts_mut(to.add(k0 * size * width), width * LINE) };
        let rows = lines.chunks_exact_mut(LINE);
        for (i, line) in rows.enumerate() {
            let row = source.wrapping_offset(i as isize * stride + k0 as isize * step);
            if i < count && step == size as isize && kb * size == LINE {
                // SAFETY: the row has a whole line of adjacent elements here.
                unsafe { line.copy_from_slice(&row.cast::<[u8; LINE]>().read_unaligned()) };
                continue;
            }
            line.fill(0);
            if i >= count {
                continue;
            }
            for (j, element) in line.chunks_exact_mut(size).take(kb).enumerate() {
                let at = row.wrapping_offset(j as isize * step);
                // SAFETY: step `j` of the row exists.
                unsafe { std::ptr::copy_nonoverlapping(at, element.as_mut_ptr(), size) };
            }
        }
    }
}

/// Brings adjacent elements near; they need not exist.
#[inline(always)]
fn fetch<S>(first: *const S, count: usize) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..count * size_of::<S>()).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which reads nothing and faults nowhere.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(first.cast::<i8>().wrapping_add(at)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (first, count);
}

/// Packs with a conversion of single elements.
#[inline(always)]
unsafe fn pack_as<S: Copy, T: Number>(
    source: *const u8,
    minor: Minor,
    step: isize,
    k: usize,
    to: *mut T,
    moves_words: bool,
    convert: impl Fn(S) -> T,
) {
    let Minor { count, width, stride } = minor;
    let size = size_of::<S>() as isize;
    // SAFETY: `i < count`, `j < k`.
    let read = |i: usize, j: usize| unsafe {
        source.offset(i as isize * stride + j as isize * step).cast::<S>().read_unaligned()
    };
    if stride == size {
        for j in 0..k {
            let row = source.wrapping_offset(j as isize * step).cast::<S>();
            fetch(row.wrapping_byte_offset(AHEAD * step), count);
            let runs = count / RUN * RUN;
            for i in (0..runs).step_by(RUN) {
                // SAFETY: a run of elements of step `j`, which the caller promises, and its place in the panel.
                unsafe {
                    let from = row.add(i).cast::<[S; RUN]>().read_unaligned();
                    let to = &mut *to.add(j * width + i).cast::<[T; RUN]>();
                    for (to, from) in to.iter_mut().zip(from) {
                        *to = convert(from);
                    }
                }
            }
            for i in runs..count {
                // SAFETY: element `i` of step `j`, which the caller promises.
                unsafe { *to.add(j * width + i) = convert(row.add(i).read_unaligned()) };
            }
        }
    } else {
        let mut done = 0;
        if step == size && moves_words {
            // SAFETY: elements of four bytes that keep their bits; whole groups of four exist.
            done = unsafe { transpose(source, minor, k, to.cast()) };
        }
        // Eight steps at a time keep the source's lines in cache while all minor indices are visited.
        for j0 in (0..k).step_by(8) {
            for i in done..count {
                for j in j0..(j0 + 8).min(k) {
                    // SAFETY: inside the panel.
                    unsafe { *to.add(j * width + i) = convert(read(i, j)) };
                }
            }
        }
    }
    if count < width {
        for j in 0..k {
            for i in count..width {
                // SAFETY: inside the panel.
                unsafe { *to.add(j * width + i) = T::default() };
            }
        }
    }
}

/// `f16` rows convert through the machine's instruction where it has one.
unsafe fn pack_f16(source: *const u8, minor: Minor, step: isize, k: usize, to: *mut f32) {
    let aligned = source.align_offset(2) == 0 && minor.stride % 2 == 0 && step % 2 == 0;
    let whole = minor.stride == 2 && minor.count == minor.width && aligned;
    if !whole {
        // SAFETY: by the caller's promise.
        return unsafe { pack_as::<u16, f32>(source, minor, step, k, to, false, |x| f16::from_bits(x).to_f32()) };
    }
    for j in 0..k {
        // SAFETY: `width` adjacent, aligned elements of step `j`, and their place in the panel.
        unsafe {
            let row = std::slice::from_raw_parts(source.offset(j as isize * step).cast::<f16>(), minor.width);
            row.convert_to_f32_slice(std::slice::from_raw_parts_mut(to.add(j * minor.width), minor.width));
        }
    }
}

/// Transposes elements of four bytes, four minor indices at a time, then two; gives how many are done.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn transpose(source: *const u8, minor: Minor, k: usize, to: *mut f32) -> usize {
    use std::arch::x86_64::{_MM_TRANSPOSE4_PS, _mm_loadu_ps, _mm_storeu_ps};
    use std::arch::x86_64::{_mm_castps_pd, _mm_storeh_pd, _mm_storel_pd, _mm_unpackhi_ps, _mm_unpacklo_ps};
    let fours = minor.count / 4 * 4;
    let done = minor.count / 2 * 2;
    let whole = k / 4 * 4;
    // SAFETY: of all blocks here: rows `i..i + 4` or `i..i + 2` and steps `j..j + 4` exist in the source and in the panel;
    // SSE2 is part of every x86-64 machine.
    let row =
        |i: usize, j: usize| unsafe { _mm_loadu_ps(source.offset(i as isize * minor.stride).cast::<f32>().add(j)) };
    let place = |i: usize, j: usize| to.wrapping_add(j * minor.width + i);
    // All of a row's line at once: rows may lie in one set of the cache, which does not hold a line of each.
    const LINE: usize = 16;
    for j0 in (0..whole).step_by(LINE) {
        let end = whole.min(j0 + LINE);
        // The next panel's, which is as far away in time as packing this one takes.
        for i in 0..minor.count {
            fetch(source.wrapping_offset((i + minor.width) as isize * minor.stride).cast::<f32>().wrapping_add(j0), 1);
        }
        for i in (0..fours).step_by(4) {
            for j in (j0..end).step_by(4) {
                let (mut a, mut b, mut c, mut d) = (row(i, j), row(i + 1, j), row(i + 2, j), row(i + 3, j));
                // SAFETY: as above.
                unsafe {
                    _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
                    for (r, v) in [a, b, c, d].into_iter().enumerate() {
                        _mm_storeu_ps(place(i, j + r), v);
                    }
                }
            }
        }
        if fours < done {
            for j in (j0..end).step_by(4) {
                let (a, b) = (row(fours, j), row(fours + 1, j));
                // SAFETY: as above.
                unsafe {
                    for (r, v) in [_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b)].into_iter().enumerate() {
                        _mm_storel_pd(place(fours, j + 2 * r).cast(), _mm_castps_pd(v));
                        _mm_storeh_pd(place(fours, j + 2 * r + 1).cast(), _mm_castps_pd(v));
                    }
                }
            }
        }
    }
    for j in whole..k {
        for i in 0..done {
            // SAFETY: as above.
            unsafe { *place(i, j) = source.offset(i as isize * minor.stride).cast::<f32>().add(j).read_unaligned() };
        }
    }
    done
}

/// No block transposition here; the caller moves single elements.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn transpose(_: *const u8, _: Minor, _: usize, _: *mut f32) -> usize {
    0
}

/// The values of an 8-bit float, by its bits.
fn values_of(small: DType) -> &'static [f32; 256] {
    static E4M3: OnceLock<[f32; 256]> = OnceLock::new();
    static E5M2: OnceLock<[f32; 256]> = OnceLock::new();
    let table = if small == DType::F8E5M2 { &E5M2 } else { &E4M3 };
    table.get_or_init(|| std::array::from_fn(|bits| Literal::from_bits(small, bits as u64).to_f64() as f32))
}
