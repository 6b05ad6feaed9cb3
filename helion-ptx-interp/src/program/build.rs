//! From bodies to a program: names, registers, layout of shared and local memory, calls.

use super::inst::*;
use super::lanes::LaneFn;
use super::names::{Binding, Globals, Labels, Scope};
use super::{Program, Special, decode, layout};
use crate::report::Class;
use crate::syntax::ast::*;
use crate::syntax::{ParseError, Read};
use std::collections::HashMap;

/// A program may not have more steps: calls are copied, and a small text could ask for any number of copies.
const MAX_STEPS: usize = 1 << 20;
/// How deep calls may nest.
const MAX_CALLS: usize = 32;
/// Shared memory that one block can have on any device.
const MAX_SHARED: u64 = 1 << 20;

/// Translates an entry.
pub(crate) fn build<'a>(globals: &Globals<'_, 'a>, entry: &Function<'a>) -> Read<Program> {
    let mut b = Builder::new(globals);
    let body = entry.body.as_ref().ok_or_else(|| ParseError::new(entry.line, "an entry needs a body"))?;
    b.enter();
    let mut offset = 0;
    for p in &entry.params {
        offset = align_up(offset, u64::from(p.align));
        b.bind(p.name, Binding::Place { space: Space::Param, offset })?;
        offset += p.size;
    }
    b.items(body)?;
    b.push(Inst::Exit)?;
    b.finish()
}

/// The next multiple of a power of two.
pub(crate) fn align_up(offset: u64, align: u64) -> u64 {
    offset.next_multiple_of(align.max(1))
}

/// A branch whose label may come later.
struct Fixup<'a> {
    step: usize,
    /// Which target of an indexed branch.
    slot: usize,
    name: &'a str,
    scope: usize,
    line: u32,
}

/// A program in the making.
pub(crate) struct Builder<'m, 'a> {
    globals: &'m Globals<'m, 'a>,
    steps: Vec<Step>,
    constants: Vec<Constant>,
    constant_ids: HashMap<Constant, u32>,
    registers: u32,
    specials: Vec<(Special, Reg)>,
    scopes: Vec<Scope<'a>>,
    /// Where the scopes of the current body begin.
    base: usize,
    labels: Vec<Labels<'a>>,
    fixups: Vec<Fixup<'a>>,
    calls: Vec<&'a str>,
    /// For each body being copied: the branches to its end.
    returns: Vec<Vec<usize>>,
    shared: u64,
    shared_names: HashMap<&'a str, u64>,
    dynamic_align: Option<u32>,
    dynamic_uses: Vec<(u32, i64)>,
    local: u64,
    pub(super) carry: Option<Reg>,
    guard: Option<(Reg, bool)>,
    pub(super) line: u32,
    class: Class,
}

impl<'m, 'a> Builder<'m, 'a> {
    fn new(globals: &'m Globals<'m, 'a>) -> Self {
        Builder {
            globals,
            steps: Vec::new(),
            constants: Vec::new(),
            constant_ids: HashMap::new(),
            registers: 0,
            specials: Vec::new(),
            scopes: Vec::new(),
            base: 0,
            labels: Vec::new(),
            fixups: Vec::new(),
            calls: Vec::new(),
            returns: Vec::new(),
            shared: 0,
            shared_names: HashMap::new(),
            dynamic_align: None,
            dynamic_uses: Vec::new(),
            local: 0,
            carry: None,
            guard: None,
            line: 0,
            class: Class::Integer,
        }
    }

    pub(super) fn error<T>(&self, message: impl Into<String>) -> Read<T> {
        Err(ParseError::new(self.line, message))
    }

    // Scopes.

    fn enter(&mut self) {
        let parent = (self.scopes.len() > self.base).then(|| self.scopes[self.scopes.len() - 1].id);
        self.labels.push(Labels { parent, ..Labels::default() });
        self.scopes.push(Scope::new(self.labels.len() - 1));
    }

    fn bind(&mut self, name: &'a str, binding: Binding) -> Read<()> {
        if let Some(scope) = self.scopes.last_mut()
            && scope.names.insert(name, binding).is_some()
        {
            return self.error(format!("`{name}` is declared twice"));
        }
        Ok(())
    }

    fn scope_id(&self) -> usize {
        self.scopes.last().map_or(0, |s| s.id)
    }

    /// What a name means here.
    fn find(&mut self, name: &'a str) -> Option<Binding> {
        for i in (self.base..self.scopes.len()).rev() {
            if let Some(b) = self.scopes[i].names.get(name) {
                return Some(*b);
            }
            if let Some(ty) = self.scopes[i].ranged(name) {
                let binding = Binding::Reg(self.temp(), ty);
                self.scopes[i].names.insert(name, binding);
                return Some(binding);
            }
        }
        let globals = self.globals;
        let variable = globals.variables.get(name)?;
        (variable.space == Space::Shared).then(|| self.shared_variable(variable))
    }

    /// Shared variables of the module get their place when the kernel first names them.
    fn shared_variable(&mut self, v: &Variable<'a>) -> Binding {
        if v.is_extern || v.size == 0 {
            self.dynamic_align = Some(self.dynamic_align.unwrap_or(1).max(v.align));
            return Binding::Dynamic;
        }
        let offset = match self.shared_names.get(v.name) {
            Some(offset) => *offset,
            None => {
                let offset = align_up(self.shared, u64::from(v.align));
                self.shared = offset + v.size;
                self.shared_names.insert(v.name, offset);
                offset
            }
        };
        Binding::Place { space: Space::Shared, offset }
    }

    fn local_place(&mut self, v: &Variable<'a>) -> Binding {
        let offset = align_up(self.local, u64::from(v.align.max(8)));
        self.local = offset + v.size;
        Binding::Place { space: Space::Local, offset }
    }

    // Registers and constants.

    pub(super) fn temp(&mut self) -> Reg {
        self.registers += 1;
        self.registers - 1
    }

    fn constant_id(&mut self, c: Constant) -> u32 {
        if let Some(id) = self.constant_ids.get(&c) {
            return *id;
        }
        let id = self.constants.len() as u32;
        self.constants.push(c.clone());
        self.constant_ids.insert(c, id);
        id
    }

    pub(super) fn number(&mut self, bits: u64) -> Src {
        Src::constant(self.constant_id(Constant::Bits(bits)))
    }

    fn special(&mut self, special: Special) -> Reg {
        if let Some((_, reg)) = self.specials.iter().find(|(s, _)| *s == special) {
            return *reg;
        }
        let reg = self.temp();
        self.specials.push((special, reg));
        reg
    }

    // Operands.

    /// An operand that is read, as bits of a type.
    pub(super) fn src(&mut self, operand: &Operand<'a>, ty: Ty) -> Read<Src> {
        match operand {
            Operand::Name("WARP_SZ") => Ok(self.number(32)),
            Operand::Name(name) => self.named_src(name, 0),
            Operand::Offset(name, n) => self.named_src(name, *n),
            Operand::Int(i) => {
                if matches!(ty, Ty::F32 | Ty::F64 | Ty::F16 | Ty::Bf16) && *i != 0 {
                    return self.error(format!("the integer {i} stands where a value of type {ty} is expected"));
                }
                let mask = if ty.bits() >= 64 { u64::MAX } else { (1 << ty.bits()) - 1 };
                Ok(self.number(*i as u64 & mask))
            }
            Operand::F32(bits) => Ok(match ty {
                Ty::F64 => self.number(f64::from(f32::from_bits(*bits)).to_bits()),
                _ => self.number(u64::from(*bits)),
            }),
            Operand::F64(bits) => Ok(match ty {
                Ty::F32 => self.number(u64::from((f64::from_bits(*bits) as f32).to_bits())),
                _ => self.number(*bits),
            }),
            Operand::Not(inner) => {
                let p = self.src(inner, Ty::Pred)?;
                let t = self.temp();
                self.map(super::lanes::lanes!(|a: bool| -> bool { !a }), t, &[p])?;
                Ok(Src::reg(t))
            }
            _ => self.error("expected a register or a number as an operand"),
        }
    }

    fn named_src(&mut self, name: &'a str, add: i64) -> Read<Src> {
        if let Some(special) = Special::named(name) {
            return Ok(Src::reg(self.special(special)));
        }
        match self.find(name) {
            Some(Binding::Reg(r, _)) if add == 0 => return Ok(Src::reg(r)),
            Some(Binding::Reg(..)) => return self.error(format!("`{name}` is a register and has no offset here")),
            Some(Binding::Place { offset, .. }) => return Ok(self.number(offset.wrapping_add_signed(add))),
            Some(Binding::Dynamic) => {
                // The number is known when all static memory is.
                let id = self.constant_id(Constant::Symbol(String::new(), add));
                if !self.dynamic_uses.contains(&(id, add)) {
                    self.dynamic_uses.push((id, add));
                }
                return Ok(Src::constant(id));
            }
            None => {}
        }
        if self.globals.variables.contains_key(name) {
            return Ok(Src::constant(self.constant_id(Constant::Symbol(name.to_string(), add))));
        }
        if self.globals.functions.contains_key(name) {
            return self.error(format!("the address of the function `{name}` is taken, which is not supported"));
        }
        self.error(format!("`{name}` is not declared"))
    }

    /// A register that is written; `_` gives one that nobody reads.
    pub(super) fn dst(&mut self, operand: &Operand<'a>) -> Read<Reg> {
        Ok(self.dst_or_sink(operand)?.unwrap_or_else(|| self.temp()))
    }

    pub(super) fn dst_or_sink(&mut self, operand: &Operand<'a>) -> Read<Option<Reg>> {
        let Operand::Name(name) = operand else { return self.error("expected a register that is written") };
        if *name == "_" {
            return Ok(None);
        }
        match self.find(name) {
            Some(Binding::Reg(r, _)) => Ok(Some(r)),
            _ => self.error(format!("`{name}` is not a register")),
        }
    }

    /// The declared width of a register operand; 64 for others.
    pub(super) fn width(&mut self, operand: &Operand<'a>) -> u32 {
        match operand {
            Operand::Name(name) => match self.find(name) {
                Some(Binding::Reg(_, ty)) => ty.bits(),
                _ => 64,
            },
            _ => 64,
        }
    }

    /// An address operand, and the space of the variable that it names.
    pub(super) fn address(&mut self, operand: &Operand<'a>) -> Read<(Address, Option<Space>)> {
        let Operand::Address { base, offset, .. } = operand else {
            return self.error("expected an address in brackets");
        };
        let named = match &**base {
            Operand::Name(name) => match self.find(name) {
                Some(Binding::Place { space, .. }) => Some(space),
                Some(Binding::Dynamic) => Some(Space::Shared),
                _ => None,
            },
            _ => None,
        };
        let base = self.src(base, Ty::B64)?;
        Ok((Address { base, offset: *offset }, named))
    }

    // Steps.

    pub(super) fn push(&mut self, inst: Inst) -> Read<()> {
        if self.steps.len() >= MAX_STEPS {
            return self.error(format!("the kernel has more than {MAX_STEPS} steps when its calls are copied"));
        }
        self.steps.push(Step { guard: self.guard, inst, class: self.class, line: self.line });
        Ok(())
    }

    /// A function of lanes.
    pub(super) fn map(&mut self, f: LaneFn, dst: Reg, sources: &[Src]) -> Read<()> {
        let zero = self.number(0);
        let mut src = [zero; 4];
        src[..sources.len()].copy_from_slice(sources);
        self.push(Inst::Map { f, dst, src })
    }

    pub(super) fn classify(&mut self, class: Class) {
        self.class = class;
    }

    /// A branch to a label.
    pub(super) fn branch(&mut self, name: &'a str) -> Read<()> {
        self.fixups.push(Fixup { step: self.steps.len(), slot: 0, name, scope: self.scope_id(), line: self.line });
        self.push(Inst::Branch(0))
    }

    /// A branch to one of the labels of a `.branchtargets` list.
    pub(super) fn branch_indexed(&mut self, index: Src, list: &'a str) -> Read<()> {
        let mut id = Some(self.scope_id());
        let targets = loop {
            let Some(i) = id else { return self.error(format!("`{list}` is not a list of branch targets")) };
            match self.labels[i].targets.get(list) {
                Some(t) => break t.clone(),
                None => id = self.labels[i].parent,
            }
        };
        for (slot, name) in targets.iter().enumerate() {
            self.fixups.push(Fixup { step: self.steps.len(), slot, name, scope: self.scope_id(), line: self.line });
        }
        self.push(Inst::BranchIndexed { index, targets: vec![0; targets.len()].into() })
    }

    /// `ret`: leaves the body that is being copied, or ends the thread.
    pub(super) fn ret(&mut self) -> Read<()> {
        match self.returns.last_mut() {
            None => self.push(Inst::Exit),
            Some(list) => {
                list.push(self.steps.len());
                self.push(Inst::Branch(0))
            }
        }
    }

    /// Copies the body of a function to here; its parameters are the caller's variables.
    pub(super) fn call(&mut self, name: &'a str, returns: &[Operand<'a>], args: &[Operand<'a>]) -> Read<()> {
        let globals = self.globals;
        let Some(function) = globals.functions.get(name) else {
            return self.error(format!("the function `{name}` is not declared"));
        };
        let mut places = Vec::new();
        for (what, declared, given) in [("results", &function.returns, returns), ("parameters", &function.params, args)]
        {
            if declared.len() != given.len() {
                return self.error(format!("`{name}` has {} {what}, the call names {}", declared.len(), given.len()));
            }
            for (v, operand) in declared.iter().zip(given) {
                let Operand::Name(given) = operand else {
                    return self.error("a call names .param variables");
                };
                match self.find(given) {
                    Some(b @ Binding::Place { .. }) => places.push((v.name, b)),
                    _ => return self.error(format!("`{given}` is not a .param variable")),
                }
            }
        }
        let Some(body) = &function.body else { return self.call_extern(name, &places) };
        if self.calls.contains(&name) {
            return self.error(format!("`{name}` calls itself; recursion is not supported"));
        }
        if self.calls.len() >= MAX_CALLS {
            return self.error(format!("calls are nested deeper than {MAX_CALLS}"));
        }
        if self.guard.is_some() {
            return self.error("a guarded call is not supported");
        }
        let (base, line) = (self.base, self.line);
        let depth = self.scopes.len();
        self.base = depth;
        self.calls.push(name);
        self.returns.push(Vec::new());
        self.enter();
        for (name, binding) in places {
            self.bind(name, binding)?;
        }
        self.items(body)?;
        self.scopes.truncate(depth);
        self.base = base;
        self.line = line;
        self.calls.pop();
        let end = self.steps.len() as u32;
        for step in self.returns.pop().unwrap_or_default() {
            self.steps[step].inst = Inst::Branch(end);
        }
        // The end of the body is a place that branches can name.
        self.push(Inst::Nothing)
    }

    fn call_extern(&mut self, name: &str, places: &[(&'a str, Binding)]) -> Read<()> {
        let offsets: Vec<u64> =
            places.iter().map(|(_, b)| if let Binding::Place { offset, .. } = b { *offset } else { 0 }).collect();
        self.classify(Class::Control);
        match (name, &offsets[..]) {
            ("vprintf", [result, format, arguments]) => {
                self.push(Inst::Print { format: *format, arguments: *arguments, result: Some(*result) })
            }
            ("vprintf", [format, arguments]) => {
                self.push(Inst::Print { format: *format, arguments: *arguments, result: None })
            }
            ("__assertfail" | "__assert_fail", [message, ..]) => self.push(Inst::Assert { message: *message }),
            _ => self.error(format!("the function `{name}` has no body; only vprintf and __assertfail are known")),
        }
    }

    fn items(&mut self, items: &[Item<'a>]) -> Read<()> {
        // Lists of targets stand before their use only by habit.
        let outer = self.scopes.len();
        for item in items {
            match item {
                Item::Open => self.enter(),
                Item::Close => {
                    if self.scopes.len() > outer {
                        self.scopes.pop();
                    }
                }
                Item::Reg { ty, name, count } => match (count, self.scopes.last_mut()) {
                    (Some(count), Some(scope)) => {
                        scope.ranges.insert(name, (*count, *ty));
                    }
                    _ => {
                        let reg = self.temp();
                        self.bind(name, Binding::Reg(reg, *ty))?;
                    }
                },
                Item::Variable(v) => {
                    self.line = v.line;
                    let binding = match v.space {
                        Space::Local | Space::Param => self.local_place(v),
                        Space::Shared => self.shared_variable(v),
                        Space::Global | Space::Const | Space::Generic => {
                            return self.error("a .global or .const variable inside of a function");
                        }
                    };
                    if self.shared > MAX_SHARED || self.local > 1 << 19 {
                        return self.error(format!("`{}` is too large for this space", v.name));
                    }
                    self.bind(v.name, binding)?;
                }
                Item::Label(name) => {
                    let (id, at) = (self.scope_id(), self.steps.len() as u32);
                    if self.labels[id].places.insert(name, at).is_some() {
                        return self.error(format!("the label `{name}` stands twice"));
                    }
                }
                Item::Targets(name, targets) => {
                    let id = self.scope_id();
                    self.labels[id].targets.insert(name, targets.clone());
                }
                Item::Inst(raw) => self.instruction(raw)?,
            }
        }
        Ok(())
    }

    fn instruction(&mut self, raw: &Raw<'a>) -> Read<()> {
        self.line = raw.line;
        self.class = Class::Integer;
        self.guard = match raw.guard {
            None => None,
            Some((name, negated)) => match self.find(name) {
                Some(Binding::Reg(r, Ty::Pred)) => Some((r, !negated)),
                _ => return self.error(format!("`{name}` is not a predicate")),
            },
        };
        let first = self.steps.len();
        decode::decode(self, raw)?;
        // Where an instruction became several steps and one of them writes the guard, the rest sees its old value.
        if let Some((reg, bit)) = self.guard
            && self.steps.len() > first + 1
            && self.steps[first..].iter().any(|s| matches!(s.inst, Inst::Map { dst, .. } if dst == reg))
        {
            let copy = self.temp();
            for step in &mut self.steps[first..] {
                step.guard = Some((copy, bit));
            }
            let zero = self.number(0);
            let inst = Inst::Map {
                f: super::lanes::lanes!(|a: u64| -> u64 { a }),
                dst: copy,
                src: [Src::reg(reg), zero, zero, zero],
            };
            self.steps.insert(first, Step { guard: None, inst, class: self.class, line: self.line });
        }
        self.guard = None;
        Ok(())
    }

    fn finish(mut self) -> Read<Program> {
        for fixup in std::mem::take(&mut self.fixups) {
            let mut id = Some(fixup.scope);
            let place = loop {
                let Some(i) = id else {
                    return Err(ParseError::new(fixup.line, format!("the label `{}` is not defined", fixup.name)));
                };
                match self.labels[i].places.get(fixup.name) {
                    Some(place) => break *place,
                    None => id = self.labels[i].parent,
                }
            };
            match &mut self.steps[fixup.step].inst {
                Inst::Branch(t) => *t = place,
                Inst::BranchIndexed { targets, .. } => targets[fixup.slot] = place,
                _ => return Err(ParseError::new(fixup.line, "a branch was moved")),
            }
        }
        let dynamic_start = align_up(self.shared, u64::from(self.dynamic_align.unwrap_or(16)));
        for (id, add) in &self.dynamic_uses {
            self.constants[*id as usize] = Constant::Bits(dynamic_start.wrapping_add_signed(*add));
        }
        let steps = layout::lay_out(self.steps);
        Ok(Program {
            watched: super::watch(&steps, self.registers),
            steps,
            registers: self.registers,
            constants: self.constants,
            specials: self.specials,
            static_shared: self.shared as u32,
            dynamic_start: dynamic_start as u32,
            uses_dynamic: self.dynamic_align.is_some(),
            local: align_up(self.local, 16) as u32,
        })
    }
}
