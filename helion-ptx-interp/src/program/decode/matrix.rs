//! Matrix fragments and products.

use super::Mods;
use crate::program::build::Builder;
use crate::program::inst::{Element, Inst, MatrixAccess, Mma, Reg, Src, Srcs, Sum, Wgmma};
use crate::report::Class;
use crate::syntax::Read;
use crate::syntax::ast::{Operand, Ty};

/// Translates an instruction of this group; false if it is of another.
pub(super) fn decode<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<bool> {
    b.classify(Class::Matrix);
    match m.raw.opcode {
        "ldmatrix" | "stmatrix" => fragments(b, m)?,
        "mma" => mma(b, m)?,
        "wgmma" => {
            if m.take("mma_async") {
                wgmma(b, m)?;
            } else {
                m.ignore(&["sync", "aligned"]);
                if m.take("fence") {
                    b.push(Inst::WgmmaFence)?;
                } else if m.take("commit_group") {
                    b.push(Inst::WgmmaCommit)?;
                } else if m.take("wait_group") {
                    let [keep] = m.operands(b)?;
                    let keep = literal(b, keep)?;
                    b.push(Inst::WgmmaWait(keep))?;
                }
            }
        }
        "movmatrix" => return b.error("`movmatrix` is not supported"),
        _ => return Ok(false),
    }
    Ok(true)
}

/// A number that has to be written out.
pub(super) fn literal<'a>(b: &Builder<'_, 'a>, operand: &Operand<'a>) -> Read<u32> {
    match operand {
        Operand::Int(i) => u32::try_from(*i).or_else(|_| b.error(format!("{i} is out of range"))),
        _ => b.error("expected a number"),
    }
}

fn parts<'r, 'a>(operand: &'r Operand<'a>) -> &'r [Operand<'a>] {
    match operand {
        Operand::Vector(parts) => parts,
        one => std::slice::from_ref(one),
    }
}

fn registers<'a>(b: &mut Builder<'_, 'a>, operand: &Operand<'a>) -> Read<Vec<Reg>> {
    parts(operand).iter().map(|p| b.dst(p)).collect()
}

fn values<'a>(b: &mut Builder<'_, 'a>, operand: &Operand<'a>, ty: Ty) -> Read<Srcs> {
    parts(operand).iter().map(|p| b.src(p, ty)).collect()
}

fn fragments<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    m.ignore(&["sync", "aligned", "m8n8"]);
    let count = m.find(|w| ["x1", "x2", "x4"].iter().position(|x| *x == w).map(|i| 1usize << i));
    let transposed = m.take("trans");
    let space = m.space();
    let ty = m.ty(b)?;
    if ty != Ty::B16 {
        return m.bad_type(b, ty);
    }
    let [first, second] = m.operands(b)?;
    let (fragment, at) = if m.raw.opcode == "ldmatrix" { (first, second) } else { (second, first) };
    if Some(parts(fragment).len()) != count {
        return b.error(format!(
            "`{}`: {} registers do not fit the number of matrices",
            m.raw.opcode,
            parts(fragment).len()
        ));
    }
    let (address, named) = b.address(at)?;
    let space = named.unwrap_or(space);
    let access = MatrixAccess { space, address, transposed };
    if m.raw.opcode == "ldmatrix" {
        let dst = parts(fragment).iter().map(|p| b.dst_or_sink(p)).collect::<Read<_>>()?;
        b.push(Inst::LoadMatrix { access, dst })
    } else {
        let src = values(b, fragment, Ty::B32)?;
        b.push(Inst::StoreMatrix { access, src })
    }
}

/// `m16n8k16` as numbers.
fn shape_of(word: &str) -> Option<[usize; 3]> {
    let rest = word.strip_prefix('m')?;
    let (m, rest) = rest.split_once('n')?;
    let (n, k) = rest.split_once('k')?;
    Some([m.parse().ok()?, n.parse().ok()?, k.parse().ok()?])
}

fn element_of(ty: Ty) -> Option<Element> {
    Some(match ty {
        Ty::F16 => Element::F16,
        Ty::Bf16 => Element::Bf16,
        Ty::Tf32 => Element::Tf32,
        Ty::E4m3 => Element::E4m3,
        Ty::E5m2 => Element::E5m2,
        Ty::F64 => Element::F64,
        Ty::S8 => Element::S8,
        Ty::U8 => Element::U8,
        _ => return None,
    })
}

fn sum_of(ty: Ty) -> Option<Sum> {
    Some(match ty {
        Ty::F16 => Sum::F16,
        Ty::F32 => Sum::F32,
        Ty::F64 => Sum::F64,
        Ty::S32 => Sum::S32,
        _ => return None,
    })
}

/// The types of a product, in the order result, first operand, second operand.
fn types<'a>(b: &Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<(Sum, [Element; 2])> {
    let (d, x, y) = (m.ty(b)?, m.ty(b)?, m.ty(b)?);
    let (Some(sum), Some(x_element), Some(y_element)) = (sum_of(d), element_of(x), element_of(y)) else {
        return b.error(format!("products of {x} and {y} into {d} are not supported"));
    };
    let fits = match sum {
        Sum::S32 => x_element.is_integer() && y_element.is_integer(),
        Sum::F64 => x_element == Element::F64 && y_element == Element::F64,
        Sum::F16 => x_element.bits() <= 16 && !x_element.is_integer() && x_element != Element::Bf16,
        Sum::F32 => x_element.bits() <= 32 && !x_element.is_integer(),
    };
    if !fits || x_element.bits() != y_element.bits() {
        return b.error(format!("products of {x} and {y} into {d} do not exist"));
    }
    Ok((sum, [x_element, y_element]))
}

fn mma<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    m.ignore(&["sync", "aligned", "row", "col", "kind::f8f6f4"]);
    let Some(shape) = m.find(shape_of) else { return b.error("`mma` needs a shape such as .m16n8k16") };
    let saturate = m.take("satfinite");
    let (sum, elements) = types(b, m)?;
    let ty = m.ty(b)?;
    let Some(addend) = sum_of(ty) else { return m.bad_type(b, ty) };
    let [d, x, y, z] = m.operands(b)?;
    let bits = elements[0].bits() as usize;
    let [rows, columns, depth] = shape;
    // A register holds this many elements; four lanes hold a row's.
    let per_register = (32 / bits).max(1);
    if !matches!(rows, 8 | 16) || columns != 8 || depth % (4 * per_register) != 0 || depth == 0 {
        return b
            .error(format!("`mma` of shape m{rows}n{columns}k{depth} with elements of {bits} bits is not supported"));
    }
    let ty = if bits == 64 { Ty::B64 } else { Ty::B32 };
    let (x, y) = (values(b, x, ty)?, values(b, y, ty)?);
    let z = values(b, z, if addend == Sum::F64 { Ty::F64 } else { Ty::B32 })?;
    let d = registers(b, d)?;
    let steps = depth / (4 * per_register);
    let held = |sum: Sum| if sum == Sum::F16 { rows / 8 } else { rows / 4 };
    let wanted = [held(sum), steps * rows / 8, steps, held(addend)];
    if [d.len(), x.len(), y.len(), z.len()] != wanted {
        return b.error(format!(
            "`mma` m{rows}n{columns}k{depth}: {:?} registers where {wanted:?} are expected",
            [d.len(), x.len(), y.len(), z.len()]
        ));
    }
    b.push(Inst::Mma(Box::new(Mma { shape, elements, sums: [sum, addend], saturate, d, a: x, b: y, c: z })))
}

fn wgmma<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    m.ignore(&["sync", "aligned"]);
    let Some([rows, columns, depth]) = m.find(shape_of) else {
        return b.error("`wgmma` needs a shape such as .m64n128k16");
    };
    let saturate = m.take("satfinite");
    let (sum, elements) = types(b, m)?;
    let bits = elements[0].bits() as usize;
    if rows != 64 || columns % 8 != 0 || columns == 0 || columns > 256 || depth * bits != 256 {
        return b
            .error(format!("`wgmma` of shape m{rows}n{columns}k{depth} with elements of {bits} bits does not exist"));
    }
    let [d, x, y, accumulate, rest @ ..] = &m.raw.operands[..] else {
        return b.error("`wgmma.mma_async` takes an accumulator, two operands and scale-d");
    };
    let d = registers(b, d)?;
    let from_registers = matches!(x, Operand::Vector(_));
    let x = values(b, x, if from_registers { Ty::B32 } else { Ty::B64 })?;
    let y = b.src(y, Ty::B64)?;
    let accumulate = match accumulate {
        Operand::Int(i) => b.number(u64::from(*i != 0)),
        p => b.src(p, Ty::Pred)?,
    };
    let held = if sum == Sum::F16 { columns / 4 } else { columns / 2 };
    if d.len() != held || x.len() != if from_registers { 4 } else { 1 } {
        return b.error(format!("`wgmma`: {} registers for the accumulator, {held} are expected", d.len()));
    }
    // Floats have signs for both operands; 16-bit floats then say which operands in shared memory are transposed.
    let mut flags = rest.iter().map(|o| match o {
        Operand::Int(i) => Ok(*i),
        _ => b.error("the scales and transpositions of `wgmma` are numbers"),
    });
    let (mut negate, mut transposed) = ([false; 2], [false; 2]);
    if sum != Sum::S32 {
        for n in &mut negate {
            *n = flags.next().transpose()? == Some(-1);
        }
    }
    if bits == 16 {
        for (i, t) in transposed.iter_mut().enumerate() {
            if i == 1 || !from_registers {
                *t = flags.next().transpose()? == Some(1);
            }
        }
    }
    if flags.next().is_some() {
        return b.error("`wgmma.mma_async` has too many operands");
    }
    let wgmma = Wgmma { columns, depth, elements, sum, saturate, d, a: x, b: y, accumulate, negate, transposed };
    b.push(Inst::Wgmma(Box::new(wgmma)))
}

/// Registers that a step reads, and those that it writes, as far as products are concerned: the operands of products and
/// of lane functions, loads and stores.
pub(crate) fn touched(inst: &Inst) -> (Vec<Reg>, Vec<Reg>) {
    let (mut read, mut written) = (Vec::new(), Vec::new());
    let mut reads = |s: &Src| read.extend(s.split().err());
    match inst {
        Inst::Map { dst, src, .. } => {
            src.iter().for_each(&mut reads);
            written.push(*dst);
        }
        Inst::Load { dst, .. } | Inst::LoadMatrix { dst, .. } => written.extend(dst.iter().flatten()),
        Inst::Store { src, .. } | Inst::StoreMatrix { src, .. } => src.iter().for_each(&mut reads),
        Inst::Atomic(a) => {
            a.operands.iter().for_each(&mut reads);
            written.extend(a.dst);
        }
        Inst::Shuffle { dst, value, .. } => {
            reads(value);
            written.push(*dst);
        }
        Inst::Mma(mma) => {
            mma.a.iter().chain(&mma.b).chain(&mma.c).for_each(&mut reads);
            written.extend(&mma.d);
        }
        _ => {}
    }
    (read, written)
}
