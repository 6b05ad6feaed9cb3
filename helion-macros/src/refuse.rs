//! What device code cannot say: the reason and the way out, one sentence each.
//!
//! In: an expression or macro of device code. Out: the message, if it is refused. Messages name what the
//! user wrote, never what it would become.

use syn::spanned::Spanned;
use syn::{Expr, Macro};

/// Why an expression form is refused, whatever its parts are.
pub fn expression(e: &Expr) -> Option<&'static str> {
    Some(match e {
        Expr::Return(_) => {
            "`return` cannot leave device code: every tile runs to the end. Use `if` around the rest, or `select` for values"
        }
        Expr::Break(_) => {
            "`break` is not available in device code: use `while` with a condition, or a range: `for tk in tile(0..end)`"
        }
        Expr::Continue(_) => {
            "`continue` is not available in device code: use `if` around the rest of the body, or `select` for values"
        }
        Expr::Try(_) => "`?` cannot be used in device code: check for errors before the tile loop",
        Expr::Loop(_) => "`loop` has no end in device code: use `while condition { .. }` or `for .. in tile(..)`",
        Expr::Await(_) | Expr::Async(_) => {
            "device code cannot be `async`: a launch runs to its end; wait for things before the tile loop"
        }
        Expr::Unsafe(_) => {
            "`unsafe` has no use in device code: loads and stores are bounded by the tensor; do raw memory work before the tile loop"
        }
        Expr::Yield(_) => "`yield` cannot be used in device code: carry values in `let mut` variables",
        Expr::TryBlock(_) => "`try` cannot be used in device code: check for errors before the tile loop",
        Expr::RawAddr(_) => "device values have no address: pass the value itself",
        _ => return None,
    })
}

/// Why a macro is refused.
pub fn macro_call(m: &Macro) -> Option<String> {
    let name = m.path.segments.last()?.ident.to_string();
    Some(match name.as_str() {
        "println" | "print" | "eprintln" | "eprint" | "dbg" | "write" | "writeln" | "trace" | "debug" | "info"
        | "warn" | "error" => format!(
            "`{name}!` would run once, while the kernel is recorded, not for every tile: print device values with `debug_print(label, value)`"
        ),
        "assert" | "assert_eq" | "assert_ne" | "debug_assert" | "debug_assert_eq" | "debug_assert_ne" | "ensure"
        | "bail" => format!(
            "`{name}!` would run once, while the kernel is recorded, not for every tile: check sizes before the tile loop, with `ensure!`"
        ),
        "panic" | "todo" | "unimplemented" | "unreachable" => {
            format!("`{name}!` cannot stop a running kernel: check before the tile loop, or store a flag into a tensor")
        }
        "format" | "format_args" | "concat" | "stringify" => {
            format!("device code has no strings, so `{name}!` has no use there: build text before the tile loop")
        }
        "vec" => "`vec!` has no use in device code: an array such as `[x; 4]` holds a fixed number of tiles".to_owned(),
        "thread_local" => "thread-locals cannot be declared in device code: pass values as kernel arguments".to_owned(),
        _ => return None,
    })
}

/// A `for` over a plain range whose bound is a device value.
pub fn counted_loop(bound: &str) -> String {
    format!(
        "`{bound}` is known only when the kernel runs, so a plain `for` cannot count to it: write `for i in grid({bound})` for one index at a time, or `for t in tile({bound})` for blocks; ranges of constants (`0..4`) unroll"
    )
}

/// `as` on a device value.
pub fn cast(what: &str, ty: &str) -> String {
    format!("`as` does not convert device values: write `{what}.cast::<{ty}>()`, or `{what}.to::<{ty}>()` for a size")
}

/// `match` with number patterns on a captured number.
pub fn matching(what: &str) -> String {
    format!(
        "`match` compares while the kernel is recorded, and `{what}` is a number that the kernel gets at run time: use `if {what} == .. {{ .. }} else {{ .. }}`, or `select`"
    )
}

/// Assigning to a variable of the host.
pub fn host_assignment(name: &str) -> String {
    format!(
        "`{name}` belongs to the host: a tile loop cannot assign to it. Declare it inside the loop, or store into a tensor"
    )
}

/// Storing to something that is not an output.
pub fn store(name: &str, input: bool) -> String {
    if input {
        return format!(
            "`{name}` is an input and cannot be written: take it as `&mut Tensor`, or store to a new tensor (`let mut out = {name}.empty_like();`)"
        );
    }
    format!("`{name}` is written in this tile loop but is not declared mutable: write `let mut {name}`")
}

/// Changing a variable inside a nested loop or branch by a method or a reference.
pub fn nested_change(name: &str, how: &str) -> String {
    format!(
        "`{name}` is changed by {how} inside a device loop or branch, whose body is recorded once and runs many times: carry tiles in variables that are assigned (`acc = acc + x`), or fill a fixed array of tiles before the loop"
    )
}

/// A closure that assigns to what is around it.
pub fn closure_change(name: &str) -> String {
    format!(
        "a closure in device code cannot change `{name}`: let it return the new value, and assign that (`{name} = f({name}, x);`)"
    )
}

/// `&mut` of anything.
pub const MUT_REFERENCE: &str = "device values are copied, not borrowed: pass the value, return the new one, and assign it (`acc = update(acc, x);`)";

/// A label on a loop.
pub const LABEL: &str = "loops of device code have no labels: `break` and `continue` are not available there";

/// A variable without a first value.
pub const NO_INIT: &str = "device variables need a first value: `let mut x = ...;`";

/// `static` in device code.
pub const STATIC: &str = "a `static` would be read once, while the kernel is recorded: pass its value as a kernel argument, or declare a `const`";

/// A kernel calling itself in device code.
pub const RECURSION: &str = "a kernel cannot call itself: device code has no recursion";

/// `self` as a whole.
pub const WHOLE_SELF: &str =
    "`self` cannot enter a tile loop as a whole: use its fields (`self.weight[tm]`), or compute before the loop";

/// A range that a tile loop cannot have.
pub const INCLUSIVE: &str = "tile loops take half-open ranges: write `begin..end`, with `end` one past the last index";

/// A tile loop where none can be.
pub const LOOP_IN_CLOSURE: &str =
    "a tile loop cannot be inside a closure or async block of host code: write it in the kernel function itself";

/// The text of a small expression, as written.
pub fn text(e: &impl Spanned) -> Option<String> {
    e.span().source_text()
}
