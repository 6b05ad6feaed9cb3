//! Loads, stores and atomic updates.

use super::Mods;
use crate::program::build::Builder;
use crate::program::inst::{Access, Atomic, Inst, Order};
use crate::program::lanes::{Bf16, F16, F32, F64, Real, Value};
use crate::report::Class;
use crate::syntax::Read;
use crate::syntax::ast::{Operand, Space, Ty};
use smallvec::SmallVec;

/// Words that advise the caches and mean nothing here.
const HINTS: [&str; 23] = [
    "nc",
    "ca",
    "cg",
    "cs",
    "lu",
    "cv",
    "wb",
    "wt",
    "L1::evict_normal",
    "L1::evict_unchanged",
    "L1::evict_first",
    "L1::evict_last",
    "L1::no_allocate",
    "L2::64B",
    "L2::128B",
    "L2::256B",
    "L2::evict_first",
    "L2::evict_last",
    "L2::evict_normal",
    "global::unified",
    "unified",
    "L2::fractional",
    "noftz",
];

/// Translates an instruction of this group; false if it is of another.
pub(super) fn decode<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<bool> {
    match m.raw.opcode {
        "ld" | "ldu" | "st" => transfer(b, m)?,
        "atom" | "red" => atomic(b, m)?,
        "prefetch" | "prefetchu" | "discard" | "applypriority" | "createpolicy" => hint(b, m)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Instructions that advise the caches.
fn hint<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    let all: Vec<&str> = m.raw.modifiers.clone();
    m.ignore(&all);
    if m.raw.opcode == "createpolicy"
        && let Some(dst) = m.raw.operands.first()
    {
        let (dst, zero) = (b.dst(dst)?, b.number(0));
        return b.map(super::mov::COPY, dst, &[zero]);
    }
    b.push(Inst::Nothing)
}

/// Drops the cache policy that stands last when `.L2::cache_hint` is given.
fn without_policy<'r, 'a>(m: &mut Mods<'r, 'a>) -> &'r [Operand<'a>] {
    m.ignore(&HINTS);
    let operands = &m.raw.operands[..];
    if m.take("L2::cache_hint") { &operands[..operands.len().saturating_sub(1)] } else { operands }
}

fn transfer<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    let loads = m.raw.opcode != "st";
    let operands = without_policy(m);
    let order = m.order();
    let space = m.space();
    let count = m.find(|w| match w {
        "v2" => Some(2),
        "v4" => Some(4),
        "v8" => Some(8),
        _ => None,
    });
    let ty = m.ty(b)?;
    if ty.bits() < 8 || ty.bits() > 64 {
        return m.bad_type(b, ty);
    }
    let [first, second] = operands else { return b.error("expected an address and a value") };
    let (value, address) = if loads { (first, second) } else { (second, first) };
    let (address, named) = b.address(address)?;
    // A parameter of a function is a variable of its caller, which lives in local memory.
    let space = match (space, named) {
        (Space::Param, Some(Space::Local)) => Space::Local,
        (Space::Generic, Some(other)) => other,
        (other, _) => other,
    };
    let parts: &[Operand<'a>] = match value {
        Operand::Vector(parts) => parts,
        one => std::slice::from_ref(one),
    };
    if parts.len() != count.unwrap_or(1) {
        return b.error(format!("{} registers where {} are expected", parts.len(), count.unwrap_or(1)));
    }
    let access = Access { space, address, bytes: ty.bytes(), signed: ty.is_signed(), order };
    b.classify(if loads { Class::Load } else { Class::Store });
    if loads {
        let dst = parts.iter().map(|p| b.dst_or_sink(p)).collect::<Read<_>>()?;
        let widths = parts.iter().map(|p| b.width(p)).max().unwrap_or(64);
        // Signed values fill the register that they are loaded into.
        let access = Access { signed: access.signed && ty.bits() < widths, ..access };
        b.push(Inst::Load { access, dst, width: widths.max(16) })
    } else {
        let src = parts.iter().map(|p| b.src(p, ty)).collect::<Read<SmallVec<_>>>()?;
        b.push(Inst::Store { access, src })
    }
}

type Update = fn(u64, u64, u64) -> u64;

macro_rules! update {
    (|$x:ident, $y:ident| $t:ty { $e:expr }) => {{
        let f: Update = |old, value, _| {
            let ($x, $y) = (<$t as Value>::of(old), <$t as Value>::of(value));
            <$t as Value>::bits($e)
        };
        f
    }};
}

/// Applies an update of 16-bit parts to both halves.
macro_rules! halves {
    (|$x:ident, $y:ident| $t:ty { $e:expr }) => {{
        let f: Update = |old, value, _| {
            [0, 16].into_iter().fold(0, |all, by| {
                let ($x, $y) = (<$t as Value>::of(old >> by & 0xffff), <$t as Value>::of(value >> by & 0xffff));
                all | <$t as Value>::bits($e) << by
            })
        };
        f
    }};
}

/// What an atomic operation computes.
fn update_of(op: &str, ty: Ty) -> Option<Update> {
    Some(match (op, ty) {
        ("add", Ty::U32 | Ty::S32) => update!(|x, y| u32 { x.wrapping_add(y) }),
        ("add", Ty::U64 | Ty::S64) => update!(|x, y| u64 { x.wrapping_add(y) }),
        ("add", Ty::F32) => update!(|x, y| F32 { x + y }),
        ("add", Ty::F64) => update!(|x, y| F64 { x + y }),
        ("add", Ty::F16) => update!(|x, y| F16 { x + y }),
        ("add", Ty::Bf16) => update!(|x, y| Bf16 { x + y }),
        ("add", Ty::F16x2) => halves!(|x, y| F16 { x + y }),
        ("add", Ty::Bf16x2) => halves!(|x, y| Bf16 { x + y }),
        ("min", Ty::F16) => update!(|x, y| F16 { x.smaller(y) }),
        ("max", Ty::F16) => update!(|x, y| F16 { x.larger(y) }),
        ("min", Ty::F16x2) => halves!(|x, y| F16 { x.smaller(y) }),
        ("max", Ty::F16x2) => halves!(|x, y| F16 { x.larger(y) }),
        ("min", Ty::Bf16) => update!(|x, y| Bf16 { x.smaller(y) }),
        ("max", Ty::Bf16) => update!(|x, y| Bf16 { x.larger(y) }),
        ("min", Ty::Bf16x2) => halves!(|x, y| Bf16 { x.smaller(y) }),
        ("max", Ty::Bf16x2) => halves!(|x, y| Bf16 { x.larger(y) }),
        ("min", Ty::U32) => update!(|x, y| u32 { x.min(y) }),
        ("max", Ty::U32) => update!(|x, y| u32 { x.max(y) }),
        ("min", Ty::S32) => update!(|x, y| i32 { x.min(y) }),
        ("max", Ty::S32) => update!(|x, y| i32 { x.max(y) }),
        ("min", Ty::U64) => update!(|x, y| u64 { x.min(y) }),
        ("max", Ty::U64) => update!(|x, y| u64 { x.max(y) }),
        ("min", Ty::S64) => update!(|x, y| i64 { x.min(y) }),
        ("max", Ty::S64) => update!(|x, y| i64 { x.max(y) }),
        ("inc", Ty::U32) => update!(|x, y| u32 { if x >= y { 0 } else { x + 1 } }),
        ("dec", Ty::U32) => update!(|x, y| u32 { if x == 0 || x > y { y } else { x - 1 } }),
        ("and", Ty::B32 | Ty::B64) => |x, y, _| x & y,
        ("or", Ty::B32 | Ty::B64) => |x, y, _| x | y,
        ("xor", Ty::B32 | Ty::B64) => |x, y, _| x ^ y,
        ("exch", Ty::B32 | Ty::B64 | Ty::B16 | Ty::U32 | Ty::U64 | Ty::S32 | Ty::S64 | Ty::F32 | Ty::F64) => {
            |_, y, _| y
        }
        ("cas", Ty::B16 | Ty::B32 | Ty::B64 | Ty::U32 | Ty::U64 | Ty::S32 | Ty::S64 | Ty::F32 | Ty::F64) => {
            |old, compare, new| if old == compare { new } else { old }
        }
        _ => return None,
    })
}

fn atomic<'a>(b: &mut Builder<'_, 'a>, m: &mut Mods<'_, 'a>) -> Read<()> {
    const OPERATIONS: [&str; 10] = ["add", "min", "max", "inc", "dec", "and", "or", "xor", "exch", "cas"];
    let operands = without_policy(m);
    let order = match m.order() {
        Order::Weak => Order::Relaxed,
        other => other,
    };
    let space = m.space();
    let Some(op) = m.find(|w| OPERATIONS.into_iter().find(|o| *o == w)) else {
        return b.error("an atomic instruction needs an operation");
    };
    let ty = m.ty(b)?;
    let Some(update) = update_of(op, ty) else {
        return b.error(format!("the atomic operation .{op} does not exist for the type {ty}"));
    };
    let (dst, rest) = match (m.raw.opcode, operands) {
        ("atom", [dst, rest @ ..]) => (b.dst_or_sink(dst)?, rest),
        (_, rest) => (None, rest),
    };
    let wanted = if op == "cas" { 3 } else { 2 };
    if rest.len() != wanted {
        return b.error(format!("`{}.{op}`: {} operands where {wanted} are expected", m.raw.opcode, rest.len()));
    }
    let (address, named) = b.address(&rest[0])?;
    let space = match (space, named) {
        (Space::Generic, Some(other)) => other,
        (other, _) => other,
    };
    let zero = b.number(0);
    let mut values = [zero; 2];
    for (v, operand) in values.iter_mut().zip(&rest[1..]) {
        *v = b.src(operand, ty)?;
    }
    b.classify(Class::Atomic);
    b.push(Inst::Atomic(Box::new(Atomic { space, address, bytes: ty.bytes(), order, update, operands: values, dst })))
}
