//! The elementwise operations, one table row each, shared by both IRs.
//!
//! A row gives the operation's name, the element types it accepts and its documentation; printing,
//! parsing, type rules and the interpreters derive from it. The meaning of each on one element is
//! in [`crate::eval`].

use crate::dtype::DType;

/// Which element types an operation accepts, and what it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Numbers; the result has the operand's type.
    Num,
    /// Floats; the result has the operand's type.
    Float,
    /// Integers and `bool`; the result has the operand's type.
    Bits,
    /// Integers; the result has the operand's type.
    Int,
    /// Numbers and `bool` are compared; the result is `bool`.
    Compare,
    /// Floats are inspected; the result is `bool`.
    FloatTest,
}

impl Rule {
    /// Whether operands of type `d` are allowed.
    pub const fn accepts(self, d: DType) -> bool {
        match self {
            Rule::Num => d.is_num(),
            Rule::Float | Rule::FloatTest => d.is_float(),
            Rule::Bits => d.is_int() || matches!(d, DType::Bool),
            Rule::Int => d.is_int(),
            Rule::Compare => d.is_num() || matches!(d, DType::Bool),
        }
    }
    /// The result type for operands of type `d`.
    pub const fn result(self, d: DType) -> DType {
        match self {
            Rule::Compare | Rule::FloatTest => DType::Bool,
            _ => d,
        }
    }
    /// What is accepted, in words, for messages.
    pub const fn words(self) -> &'static str {
        match self {
            Rule::Num => "numbers",
            Rule::Float | Rule::FloatTest => "floats (f16, bf16, f32, f64)",
            Rule::Bits => "integers or bool",
            Rule::Int => "integers",
            Rule::Compare => "numbers or bool",
        }
    }
}

macro_rules! table {
    ($(#[$meta:meta])* $enum:ident { $($variant:ident $name:literal $rule:ident $doc:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $enum { $(#[doc = $doc] $variant,)* }
        impl $enum {
            /// Every operation of the table.
            pub const ALL: &'static [$enum] = &[$($enum::$variant),*];
            /// The name in printed IR.
            pub const fn name(self) -> &'static str { match self { $($enum::$variant => $name,)* } }
            /// The element types it accepts and returns.
            pub const fn rule(self) -> Rule { match self { $($enum::$variant => Rule::$rule,)* } }
            /// One sentence of documentation.
            pub const fn doc(self) -> &'static str { match self { $($enum::$variant => $doc,)* } }
            /// The operation of that printed name.
            pub fn from_name(name: &str) -> Option<Self> { Self::ALL.iter().copied().find(|o| o.name() == name) }
        }
        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.name()) }
        }
    };
}

table! {
    /// Operations on one operand.
    UnaryOp {
        Neg "neg" Num "`-x`; integers wrap.";
        Abs "abs" Num "`|x|`; the smallest signed integer maps to itself.";
        Not "not" Bits "Bitwise complement; logical not of `bool`.";
        Floor "floor" Float "The largest integer not above `x`.";
        Ceil "ceil" Float "The smallest integer not below `x`.";
        Round "round" Float "The nearest integer; halves go to the even one.";
        Trunc "trunc" Float "The integer part, toward zero.";
        Exp "exp" Float "e to the power `x`.";
        Exp2 "exp2" Float "2 to the power `x`.";
        Log "log" Float "Natural logarithm; NaN below zero, -inf at zero.";
        Log2 "log2" Float "Logarithm to base 2; NaN below zero, -inf at zero.";
        Sqrt "sqrt" Float "Square root, correctly rounded; NaN below zero.";
        Rsqrt "rsqrt" Float "`1 / sqrt(x)`.";
        Sin "sin" Float "Sine of `x` in radians.";
        Cos "cos" Float "Cosine of `x` in radians.";
        Tanh "tanh" Float "Hyperbolic tangent.";
        Sigmoid "sigmoid" Float "`1 / (1 + exp(-x))`.";
        Erf "erf" Float "The error function.";
        IsNan "is_nan" FloatTest "Whether `x` is not a number.";
    }
}

table! {
    /// Operations on two operands of one type.
    BinaryOp {
        Add "add" Num "`a + b`; integers wrap.";
        Sub "sub" Num "`a - b`; integers wrap.";
        Mul "mul" Num "`a * b`; integers wrap.";
        Div "div" Num "`a / b`; integers truncate toward zero, `a / 0` is 0, and the smallest signed integer over -1 wraps.";
        Rem "rem" Num "The remainder with the sign of `a`; of integers `a % 0` is 0.";
        Min "min" Num "The smaller; NaN if either is NaN; of zeros with different signs either.";
        Max "max" Num "The larger; NaN if either is NaN; of zeros with different signs either.";
        Pow "pow" Float "`a` to the power `b`.";
        And "and" Bits "Bitwise and; logical and of `bool`.";
        Or "or" Bits "Bitwise or; logical or of `bool`.";
        Xor "xor" Bits "Bitwise exclusive or.";
        Shl "shl" Int "Shift left by `b` modulo the width.";
        Shr "shr" Int "Shift right by `b` modulo the width; arithmetic for signed types, logical for unsigned ones.";
        Eq "eq" Compare "`a == b`; false if either is NaN.";
        Ne "ne" Compare "`a != b`; true if either is NaN.";
        Lt "lt" Compare "`a < b`; false if either is NaN.";
        Le "le" Compare "`a <= b`; false if either is NaN.";
        Gt "gt" Compare "`a > b`; false if either is NaN.";
        Ge "ge" Compare "`a >= b`; false if either is NaN.";
    }
}
