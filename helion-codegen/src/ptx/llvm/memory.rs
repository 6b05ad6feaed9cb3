//! Loads and stores of adjacent elements, each one instruction.
//!
//! In: an address that is a multiple of the access' bytes, an element type, a count that makes 1, 2, 4, 8 or 16 bytes.
//! Out: elements in registers, or memory written. What has no mask is an instruction that LLVM knows and may move; what
//! has one is a predicated line of PTX, which LLVM keeps in its place among the others, and touches no memory where the
//! mask is false. There, loads give zeros.

use super::emit::{Done, Emit, I, P, Space, V, mistake};
use helion_ir::dtype::DType;
use inkwell::types::{BasicTypeEnum, VectorType};
use inkwell::values::BasicValue;

/// How elements lie in the registers of one access.
#[derive(Clone, Copy)]
struct Shape {
    /// Registers, of so many bits.
    count: u32,
    bits: u32,
    /// Elements in each.
    packed: u32,
}

/// The shape of an access to `n` elements.
fn shape(d: DType, n: u32) -> Done<Shape> {
    let size = d.size() as u32;
    let bytes = n * size;
    if !bytes.is_power_of_two() || bytes > 16 {
        return mistake(format!("an access to {n} elements of type {d}"));
    }
    // Small elements share registers of 32 bits.
    let register = size.max(bytes.min(4));
    Ok(Shape { count: bytes / register, bits: 8 * register, packed: register / size })
}

impl Shape {
    /// `.v4.b32` and the like.
    fn suffix(self) -> String {
        match self.count {
            1 => format!(".b{}", self.bits),
            n => format!(".v{n}.b{}", self.bits),
        }
    }
    /// The registers' names from a number on, in braces where there are several.
    fn list(self, from: u32) -> String {
        let names: Vec<String> = (from..from + self.count).map(|n| format!("${n}")).collect();
        if self.count == 1 { names.concat() } else { format!("{{{}}}", names.join(", ")) }
    }
}

/// The letter of a register class in constraints. There is none for 8 bits.
pub(super) const fn class(bits: u32) -> &'static str {
    match bits {
        0..=8 => "r",
        9..=16 => "h",
        17..=32 => "r",
        _ => "l",
    }
}

impl Space {
    /// What instructions call it.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Space::Generic => "",
            Space::Global => ".global",
            Space::Shared => ".shared",
            Space::Constant => ".const",
        }
    }
}

impl<'c> Emit<'c> {
    /// Loads `n` adjacent elements. `constant` memory is such that no kernel writes it while this one runs.
    pub(super) fn load_elements(
        &self,
        space: Space,
        p: P<'c>,
        d: DType,
        n: u32,
        mask: Option<I<'c>>,
        constant: bool,
    ) -> Done<Vec<V<'c>>> {
        let s = shape(d, n)?;
        let registers = match mask {
            None => self.load_plain(s, p, d, constant && space == Space::Global)?,
            Some(mask) => self.load_masked(s, space, p, mask, constant && space == Space::Global)?,
        };
        let mut out = Vec::with_capacity(n as usize);
        for r in registers {
            self.unpack(r, s, d, &mut out)?;
        }
        Ok(out)
    }

    fn load_plain(&self, s: Shape, p: P<'c>, d: DType, constant: bool) -> Done<Vec<V<'c>>> {
        let register = match s.packed {
            1 => self.stored_type(d),
            _ => self.int_type(s.bits).into(),
        };
        let t = if s.count == 1 { register } else { vector(register, s.count)?.into() };
        let v = self.load(t, p, s.count * s.bits / 8)?;
        if let (true, Some(i)) = (constant, v.as_instruction_value()) {
            let kind = self.context.get_kind_id("invariant.load");
            i.set_metadata(self.context.metadata_node(&[]), kind).or_else(|e| mistake(e.to_string()))?;
        }
        if s.count == 1 { Ok(vec![v]) } else { (0..s.count).map(|n| self.part(v, n)).collect() }
    }

    fn load_masked(&self, s: Shape, space: Space, p: P<'c>, mask: I<'c>, constant: bool) -> Done<Vec<V<'c>>> {
        let (address, letter) = self.address(space, p)?;
        let bits = s.bits.max(16);
        let bits = if s.bits == 8 { 32 } else { bits };
        let zeros: String = (0..s.count).map(|n| format!("mov.b{bits} ${n}, 0; ")).collect();
        let cache = if constant { ".nc" } else { "" };
        let (list, at) = (s.list(0), s.count);
        let line = format!("{zeros}@${} ld{}{cache}{} {list}, [${at}];", at + 1, space.suffix(), s.suffix());
        let outputs = vec![format!("=&{}", class(s.bits)); s.count as usize].join(",");
        let clobber = if constant { "" } else { ",~{memory}" };
        let constraints = format!("{outputs},{letter},b{clobber}");
        let register: BasicTypeEnum<'c> = self.int_type(bits).into();
        let result = match s.count {
            1 => register,
            n => self.context.struct_type(&vec![register; n as usize], false).into(),
        };
        let Some(v) = self.asm(Some(result), &line, &constraints, &[address, mask.into()], !constant)? else {
            return mistake("a load without result");
        };
        if s.bits == 8 {
            let byte = self.builder.build_int_truncate(v.into_int_value(), self.context.i8_type(), "")?;
            return Ok(vec![byte.into()]);
        }
        if s.count == 1 { Ok(vec![v]) } else { (0..s.count).map(|n| self.part(v, n)).collect() }
    }

    /// Stores adjacent elements.
    pub(super) fn store_elements(
        &self,
        space: Space,
        p: P<'c>,
        d: DType,
        values: &[V<'c>],
        mask: Option<I<'c>>,
    ) -> Done {
        let s = shape(d, values.len() as u32)?;
        let packed = values.chunks(s.packed as usize).map(|c| self.pack(c, s, d));
        let registers = packed.collect::<Done<Vec<V<'c>>>>()?;
        if let Some(mask) = mask {
            return self.store_masked(s, space, p, &registers, mask);
        }
        let bytes = s.count * s.bits / 8;
        let [first, ..] = registers[..] else { return mistake("a store of nothing") };
        if s.count == 1 {
            return self.store(first, p, bytes);
        }
        let mut all: V<'c> = vector(first.get_type(), s.count)?.get_undef().into();
        for (n, r) in registers.iter().enumerate() {
            all = self.with_part(all, *r, n as u32)?;
        }
        self.store(all, p, bytes)
    }

    fn store_masked(&self, s: Shape, space: Space, p: P<'c>, registers: &[V<'c>], mask: I<'c>) -> Done {
        let (address, letter) = self.address(space, p)?;
        let mut args = Vec::with_capacity(registers.len() + 2);
        for r in registers {
            let bits = self.bits_to(*r, self.int_type(s.bits).into())?;
            args.push(match s.bits {
                8 => self.to_i32(bits.into_int_value())?.into(),
                _ => bits,
            });
        }
        args.extend([address, mask.into()]);
        let (list, at) = (s.list(0), s.count);
        let line = format!("@${} st{}{} [${at}], {list};", at + 1, space.suffix(), s.suffix());
        let inputs = vec![class(s.bits); s.count as usize].join(",");
        self.asm(None, &line, &format!("{inputs},{letter},b,~{{memory}}"), &args, true)?;
        Ok(())
    }

    /// An address as an operand of a line of PTX, and the letter of its class.
    pub(super) fn address(&self, space: Space, p: P<'c>) -> Done<(V<'c>, &'static str)> {
        let (t, letter) = match space {
            Space::Shared => (self.context.i32_type(), "r"),
            _ => (self.context.i64_type(), "l"),
        };
        Ok((self.builder.build_ptr_to_int(p, t, "")?.into(), letter))
    }

    /// The type that holds an element in memory.
    fn stored_type(&self, d: DType) -> BasicTypeEnum<'c> {
        if d == DType::Bool { self.context.i8_type().into() } else { self.register_type(d) }
    }

    /// An element as it is in memory.
    fn stored(&self, v: V<'c>, d: DType) -> Done<V<'c>> {
        self.bitcast(v, d, if d == DType::Bool { DType::U8 } else { d })
    }

    /// An element from how it is in memory.
    fn loaded(&self, v: V<'c>, d: DType) -> Done<V<'c>> {
        match d {
            DType::Bool => {
                Ok(self.builder.build_int_truncate(v.into_int_value(), self.context.bool_type(), "")?.into())
            }
            _ => self.bits_to(v, self.register_type(d)),
        }
    }

    /// The elements of a register.
    fn unpack(&self, r: V<'c>, s: Shape, d: DType, out: &mut Vec<V<'c>>) -> Done {
        if s.packed == 1 {
            out.push(self.loaded(r, d)?);
        } else if s.bits == 16 {
            let (word, byte) = (r.into_int_value(), self.context.i8_type());
            for part in [word, self.shr(word, 8)?] {
                out.push(self.loaded(self.builder.build_int_truncate(part, byte, "")?.into(), d)?);
            }
        } else {
            let parts = self.bits_to(r, vector(self.stored_type(d), s.packed)?.into())?;
            for n in 0..s.packed {
                out.push(self.loaded(self.part(parts, n)?, d)?);
            }
        }
        Ok(())
    }

    /// The register of some elements.
    fn pack(&self, elements: &[V<'c>], s: Shape, d: DType) -> Done<V<'c>> {
        let stored = elements.iter().map(|v| self.stored(*v, d)).collect::<Done<Vec<V<'c>>>>()?;
        match stored[..] {
            [one] => Ok(one),
            [low, high] if s.bits == 16 => {
                let wide = |v: V<'c>| self.builder.build_int_z_extend(v.into_int_value(), self.context.i16_type(), "");
                Ok(self.or(wide(low)?, self.shl(wide(high)?, 8)?)?.into())
            }
            [low, high] if matches!(d, DType::F16 | DType::BF16) => self.pair(low, high),
            _ => {
                let mut all: V<'c> = vector(self.stored_type(d), s.packed)?.get_undef().into();
                for (n, v) in stored.iter().enumerate() {
                    all = self.with_part(all, *v, n as u32)?;
                }
                self.bits_to(all, self.int_type(s.bits).into())
            }
        }
    }

    /// A vector with another element at a place.
    fn with_part(&self, vector: V<'c>, v: V<'c>, n: u32) -> Done<V<'c>> {
        match vector {
            V::VectorValue(x) => Ok(self.builder.build_insert_element(x, v, self.i32(i64::from(n)), "")?.into()),
            _ => mistake("a value without parts"),
        }
    }
}

/// The vector type of some elements.
fn vector(t: BasicTypeEnum<'_>, n: u32) -> Done<VectorType<'_>> {
    match t {
        BasicTypeEnum::IntType(t) => Ok(t.vec_type(n)),
        BasicTypeEnum::FloatType(t) => Ok(t.vec_type(n)),
        _ => mistake("a vector of something that is not an element"),
    }
}
