//! Printing from kernels: a line with a label, coordinates and a value.
//!
//! In: what to print. Out: a call of the device's `vprintf`, whose lines the driver writes to standard output when the
//! kernel has ended. A line reads as that of the CPU backend, `label[1, 2] = 0.5`, but floats have as many digits as tell
//! all values of their type apart.

use super::emit::{Done, Emit, I, P, Space, V};
use helion_ir::dtype::{Class, DType};
use inkwell::AddressSpace;
use inkwell::module::Linkage;

/// A label as part of a format: no directives, and no end before the end.
fn escaped(label: &str) -> String {
    label.replace('%', "%%").replace('\0', "")
}

/// How `vprintf` writes a value.
fn directive(d: DType) -> &'static str {
    match d.class() {
        Class::Bool => "%s",
        Class::Signed => "%lld",
        Class::Unsigned => "%llu",
        Class::Float | Class::Storage if d == DType::F64 => "%.17g",
        Class::Float | Class::Storage => "%.9g",
    }
}

impl<'c> Emit<'c> {
    /// Prints a value with `i64` coordinates.
    pub(super) fn print(
        &self,
        label: &str,
        coordinates: &[I<'c>],
        value: V<'c>,
        d: DType,
        mask: Option<I<'c>>,
    ) -> Done {
        let Some(mask) = mask else { return self.print_line(label, coordinates, value, d) };
        let (line, end) = (self.block_here()?, self.block_here()?);
        self.branch(mask, line, end)?;
        self.at(line);
        self.print_line(label, coordinates, value, d)?;
        self.jump(end)?;
        self.at(end);
        Ok(())
    }

    fn print_line(&self, label: &str, coordinates: &[I<'c>], value: V<'c>, d: DType) -> Done {
        let at = vec!["%lld"; coordinates.len()].join(", ");
        let format = self.text(&format!("{}[{at}] = {}\n", escaped(label), directive(d)))?;
        let word = self.context.i64_type();
        let mut words: Vec<V<'c>> = coordinates.iter().map(|c| (*c).into()).collect();
        words.push(match d.class() {
            Class::Bool => {
                let shown =
                    self.select(value.into_int_value(), self.text("true")?.into(), self.text("false")?.into())?;
                self.builder.build_ptr_to_int(shown.into_pointer_value(), word, "")?.into()
            }
            Class::Signed => self.cast(value, d, DType::I64)?,
            Class::Unsigned => self.cast(value, d, DType::U64)?,
            Class::Float | Class::Storage => self.cast(value, d, DType::F64)?,
        });
        let list = self.variable(word.array_type(words.len() as u32).into())?;
        for (n, v) in words.iter().enumerate() {
            self.store(*v, self.offset(list, self.i64(8 * n as i64))?, 8)?;
        }
        let generic = self.context.ptr_type(AddressSpace::default());
        let vprintf = self.module.get_function("vprintf").unwrap_or_else(|| {
            let signature = self.context.i32_type().fn_type(&[generic.into(), generic.into()], false);
            self.module.add_function("vprintf", signature, None)
        });
        self.builder.build_call(vprintf, &[self.generic(format)?.into(), self.generic(list)?.into()], "")?;
        Ok(())
    }

    /// An address in the space that holds all others.
    fn generic(&self, p: P<'c>) -> Done<P<'c>> {
        let to = self.context.ptr_type(AddressSpace::default());
        if p.get_type() == to { Ok(p) } else { Ok(self.builder.build_address_space_cast(p, to, "")?) }
    }

    /// A text in the device's memory, with its end marked.
    fn text(&self, text: &str) -> Done<P<'c>> {
        let bytes = self.context.const_string(text.as_bytes(), true);
        let g = self.module.add_global(bytes.get_type(), Some(Space::Global.number()), "text");
        g.set_initializer(&bytes);
        g.set_constant(true);
        g.set_linkage(Linkage::Private);
        self.generic(g.as_pointer_value())
    }
}
