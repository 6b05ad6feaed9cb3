//! How a loop changes what it carries.
//!
//! In: a loop. Out: for each carried value the associative operation that updates it, if every one of them is
//! updated by one and nothing else in the body depends on them.

use helion_ir::dtype::{DType, Literal};
use helion_ir::tile::{Function, Inst, Op, Region, ValueId};
use helion_ir::{BinaryOp, eval};

/// What becomes of each carried value: the operation that combines two of its partial results, or `None` when
/// the loop leaves it as it is. `None` for the loop when its iterations cannot be split.
pub fn carried(f: &Function, inst: &Inst) -> Option<Vec<Option<BinaryOp>>> {
    let Op::For { .. } = &inst.op else { return None };
    let region = inst.regions.first()?;
    let mut uses = vec![0u32; f.values.len()];
    count(f, region, &mut uses);
    let of = |(param, result): (&ValueId, &ValueId)| {
        if param == result {
            return Some(None);
        }
        update(region, *param, *result, &uses).map(Some)
    };
    region.params.iter().zip(&region.yields).map(of).collect()
}

/// The operation of a chain `result = ((param op a) op b) …` in which nothing has another use. Since the carried
/// value is used nowhere else, `a` and `b` do not depend on it.
fn update(region: &Region, param: ValueId, result: ValueId, uses: &[u32]) -> Option<BinaryOp> {
    let mut at = param;
    let mut found = None;
    while at != result {
        if uses[at.index()] != 1 {
            return None;
        }
        let inst = region.body.iter().find(|i| i.args.contains(&at))?;
        let Op::Binary(op) = inst.op else { return None };
        // Subtracting is adding something else, if the carried value is what is subtracted from.
        let op = if op == BinaryOp::Sub && inst.args.first() == Some(&at) { BinaryOp::Add } else { op };
        if neutral(op, DType::I64).is_none() || found.is_some_and(|f| f != op) {
            return None;
        }
        found = Some(op);
        at = *inst.results.first()?;
    }
    // The result is handed on, and that is all.
    found.filter(|_| uses[result.index()] == 1)
}

/// What changes nothing when combined by an operation of which partial results can be combined in any grouping; `None`
/// for other operations.
pub fn neutral(op: BinaryOp, dtype: DType) -> Option<Literal> {
    Some(match op {
        BinaryOp::Add | BinaryOp::Or | BinaryOp::Xor => eval::from_i64(dtype, 0),
        BinaryOp::Mul => eval::from_i64(dtype, 1),
        BinaryOp::Max => eval::lowest(dtype),
        BinaryOp::Min => eval::highest(dtype),
        BinaryOp::And if dtype == DType::Bool => eval::from_i64(dtype, 1),
        BinaryOp::And => Literal::from_bits(dtype, u64::MAX),
        BinaryOp::Sub
        | BinaryOp::Div
        | BinaryOp::Rem
        | BinaryOp::Pow
        | BinaryOp::Shl
        | BinaryOp::Shr
        | BinaryOp::Eq
        | BinaryOp::Ne
        | BinaryOp::Lt
        | BinaryOp::Le
        | BinaryOp::Gt
        | BinaryOp::Ge => return None,
    })
}

/// Counts the uses of values in a region and those inside it.
fn count(f: &Function, region: &Region, uses: &mut [u32]) {
    region.yields.iter().for_each(|v| uses[v.index()] += 1);
    for inst in &region.body {
        super::points::reads(f, inst).for_each(|v| uses[v.index()] += 1);
        inst.regions.iter().for_each(|r| count(f, r, uses));
    }
}
