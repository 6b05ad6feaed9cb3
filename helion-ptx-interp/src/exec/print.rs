//! `vprintf` and failed assertions.

use super::Machine;
use super::memory::place;
use super::step::Flow;
use super::step::each;
use super::warp::Warp;
use crate::fault::{AtLane, Exec, FaultKind, trouble};
use crate::memory::number;
use crate::program::lanes::WARP;
use crate::syntax::ast::Space;

impl Machine<'_> {
    /// A number in memory that a lane sees.
    fn peek(&mut self, warp: &Warp, lane: usize, space: Space, address: u64, size: usize) -> Exec<u64> {
        Ok(number(self.fetch(warp, self.who(warp, lane, false), place(space, address), size).at(lane)?))
    }

    /// Text up to its zero.
    fn text(&mut self, warp: &Warp, lane: usize, mut address: u64) -> Exec<String> {
        let mut text = Vec::new();
        loop {
            match self.peek(warp, lane, Space::Generic, address, 1)? as u8 {
                0 => return Ok(String::from_utf8_lossy(&text).into_owned()),
                byte => text.push(byte),
            }
            address = address.wrapping_add(1);
        }
    }

    pub(super) fn print(
        &mut self,
        warp: &mut Warp,
        mask: u32,
        format: u64,
        arguments: u64,
        result: Option<u64>,
    ) -> Exec<()> {
        for lane in each(mask) {
            let format = self.peek(warp, lane, Space::Local, format, 8)?;
            let format = self.text(warp, lane, format)?;
            let mut at = self.peek(warp, lane, Space::Local, arguments, 8)?;
            let mut count = 0u32;
            let mut rest = format.as_str();
            while let Some(percent) = rest.find('%') {
                self.printed.push_str(&rest[..percent]);
                rest = &rest[percent + 1..];
                if let Some(after) = rest.strip_prefix('%') {
                    self.printed.push('%');
                    rest = after;
                    continue;
                }
                let end = rest.find(|c: char| c.is_ascii_alphabetic() && !matches!(c, 'l' | 'h' | 'z'));
                let Some(end) = end else {
                    return trouble(
                        FaultKind::Misuse,
                        format!("the printf format {format:?} ends inside a conversion"),
                    )
                    .at(lane);
                };
                let spec = &rest[..=end];
                rest = &rest[end + 1..];
                let text = self.conversion(warp, lane, spec, &mut at)?;
                self.printed.push_str(&text);
                count += 1;
            }
            self.printed.push_str(rest);
            if let Some(result) = result {
                let size = warp.local.len() / WARP;
                let start = lane * size + result as usize;
                if let Some(bytes) = warp.local.get_mut(start..start + 4) {
                    bytes.copy_from_slice(&count.to_le_bytes());
                }
            }
        }
        Ok(())
    }

    /// One conversion such as `-5.3lf`, whose argument is the next of the buffer.
    fn conversion(&mut self, warp: &Warp, lane: usize, spec: &str, at: &mut u64) -> Exec<String> {
        let (body, kind) = spec.split_at(spec.len() - 1);
        let long =
            body.contains('l') || body.contains('z') || matches!(kind, "p" | "s" | "f" | "F" | "e" | "E" | "g" | "G");
        let size = if long { 8 } else { 4 };
        *at = at.wrapping_add(size - 1) & !(size - 1);
        let bits = self.peek(warp, lane, Space::Generic, *at, size as usize)?;
        *at = at.wrapping_add(size);
        let flags = body.trim_end_matches(['l', 'h', 'z']);
        let digits = flags.trim_start_matches(['-', '+', ' ', '#', '0']);
        let signs = &flags[..flags.len() - digits.len()];
        // More than a thousand characters are nobody's wish.
        let count = |digits: &str| digits.parse().unwrap_or(0usize).min(1000);
        let (width, precision) = match digits.split_once('.') {
            Some((w, p)) => (count(w), Some(count(p))),
            None => (count(digits), None),
        };
        let signed = if long { bits as i64 } else { i64::from(bits as u32 as i32) };
        let float = f64::from_bits(bits);
        let mut text = match kind {
            "d" | "i" => signed.to_string(),
            "u" => bits.to_string(),
            "x" => format!("{bits:x}"),
            "X" => format!("{bits:X}"),
            "o" => format!("{bits:o}"),
            "p" => format!("{bits:#x}"),
            "c" => char::from(bits as u8).to_string(),
            "s" => self.text(warp, lane, bits)?,
            "f" | "F" => format!("{float:.*}", precision.unwrap_or(6)),
            "e" | "E" => scientific(float, precision.unwrap_or(6)),
            "g" | "G" => general(float, precision.unwrap_or(6)),
            _ => return trouble(FaultKind::Misuse, format!("printf does not know the conversion %{spec}")).at(lane),
        };
        if kind == "s"
            && let Some(p) = precision
        {
            text = text.chars().take(p).collect();
        }
        if signs.contains('+') && matches!(kind, "d" | "i" | "f" | "e" | "g") && !text.starts_with('-') {
            text.insert(0, '+');
        }
        Ok(if signs.contains('-') {
            format!("{text:<width$}")
        } else if signs.contains('0') && kind != "s" {
            let (sign, number) = text.split_at(usize::from(text.starts_with(['-', '+'])));
            format!("{sign}{number:0>rest$}", rest = width.saturating_sub(sign.len()))
        } else {
            format!("{text:>width$}")
        })
    }

    pub(super) fn failed_assertion(&mut self, warp: &Warp, mask: u32, message: u64) -> Exec<Flow> {
        let lane = mask.trailing_zeros() as usize;
        let at = self.peek(warp, lane, Space::Local, message, 8)?;
        let text = self.text(warp, lane, at)?;
        trouble(FaultKind::Trap, format!("assertion failed: {text}")).at(lane)
    }
}

/// C's `%e`: at least two digits of exponent, with a sign.
fn scientific(x: f64, precision: usize) -> String {
    let text = format!("{x:.precision$e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let value: i32 = exponent.parse().unwrap_or(0);
            format!("{mantissa}e{}{:02}", if value < 0 { '-' } else { '+' }, value.abs())
        }
        None => text,
    }
}

/// C's `%g`: the shorter of `%e` and `%f`, without trailing zeros.
fn general(x: f64, precision: usize) -> String {
    let precision = precision.max(1);
    if x == 0.0 || !x.is_finite() {
        return x.to_string();
    }
    let digits = scientific(x, precision - 1);
    let exponent: i32 = digits.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let trim = |s: &str| {
        if s.contains('.') { s.trim_end_matches('0').trim_end_matches('.').to_string() } else { s.to_string() }
    };
    if exponent < -4 || exponent >= precision as i32 {
        match digits.split_once('e') {
            Some((mantissa, e)) => format!("{}e{e}", trim(mantissa)),
            None => digits,
        }
    } else {
        trim(&format!("{x:.*}", (precision as i32 - 1 - exponent).max(0) as usize))
    }
}
