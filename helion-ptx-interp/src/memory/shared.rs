//! Shared memory of a block, with a shadow that knows who touched each byte.
//!
//! For each byte the shadow keeps the last write and the reads since, with thread, time and line. An access that
//! conflicts with one that is not known to have happened before is a race, whatever the values turn out to be. Three
//! exceptions: a write that changes nothing, accesses that are all atomic, and a write after a read by another lane of the same
//! warp, which a warp issues in this order (redundant lanes read what one of them then updates).

use super::order::{Clock, Order};
use crate::fault::{Exec, FaultKind, trouble};

/// Who accesses memory, and where in the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who {
    pub warp: usize,
    pub lane: usize,
    pub line: u32,
    /// Atomic, relaxed, or with acquire or release: races with other such accesses are allowed.
    pub strong: bool,
}

/// The lane of a stamp when several lanes of a warp read.
const SEVERAL: u8 = 255;

/// An access that was.
#[derive(Debug, Clone, Copy, Default)]
struct Stamp {
    /// Zero: there was none.
    time: u32,
    line: u32,
    warp: u8,
    lane: u8,
}

/// What is known of a byte.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    write: Stamp,
    read: Stamp,
    /// One more than the index of the list of readers, where warps read that do not know of each other.
    readers: u32,
    strong_write: bool,
    /// A background copy into the byte is on its way.
    in_flight: bool,
    /// Written by ordinary stores, and not fenced towards the asynchronous proxy.
    unfenced: bool,
}

/// The bytes of a block.
#[derive(Debug, Default)]
pub(crate) struct SharedMemory {
    bytes: Vec<u8>,
    cells: Vec<Cell>,
    /// Lists of one stamp for each warp.
    readers: Vec<Vec<Stamp>>,
    free: Vec<u32>,
    warps: usize,
    pub order: Order,
    /// For each warp, up to which time its stores were fenced towards the asynchronous proxy.
    proxied: Clock,
}

impl SharedMemory {
    /// Forgets everything: another block begins.
    pub fn reset(&mut self, size: usize, warps: usize) {
        self.bytes.clear();
        self.bytes.resize(size, 0xcb);
        self.cells.clear();
        self.cells.resize(size, Cell::default());
        self.readers.clear();
        self.free.clear();
        self.warps = warps;
        self.order.reset(warps);
        self.proxied = Clock::default();
    }

    fn check(&self, what: &str, offset: u64, size: usize) -> Exec<std::ops::Range<usize>> {
        match usize::try_from(offset).ok().and_then(|o| Some(o..o.checked_add(size)?)) {
            Some(range) if range.end <= self.bytes.len() => Ok(range),
            _ => trouble(
                FaultKind::OutOfBounds,
                format!(
                    "{what} {size} bytes at shared address {offset:#x}; the block has {:#x} bytes of shared memory",
                    self.bytes.len()
                ),
            ),
        }
    }

    /// Whether what a stamp says is known to have happened before what a thread does now.
    fn before(&self, stamp: Stamp, who: Who) -> bool {
        let known = self.order.clock(who.warp).of(usize::from(stamp.warp));
        if usize::from(stamp.warp) == who.warp {
            return usize::from(stamp.lane) == who.lane || stamp.time < known;
        }
        stamp.time <= known
    }

    /// Whether a read is known to be over when a thread writes.
    fn read_before(&self, stamp: Stamp, who: Who) -> bool {
        usize::from(stamp.warp) == who.warp || self.before(stamp, who)
    }

    fn stamp(&self, who: Who) -> Stamp {
        Stamp { time: self.order.now(who.warp), line: who.line, warp: who.warp as u8, lane: who.lane as u8 }
    }

    fn race<T>(&self, at: usize, what: &str, did: &str, other: Stamp) -> Exec<T> {
        let by = if usize::from(other.warp) == self.order.engine() {
            "a background copy".to_string()
        } else if other.lane == SEVERAL {
            format!("several lanes of warp {}", other.warp)
        } else {
            format!("lane {} of warp {}", other.lane, other.warp)
        };
        trouble(
            FaultKind::Race,
            format!("{what} shared address {at:#x}, which {by} {did} at line {}; nothing orders the two", other.line),
        )
    }

    fn arrived(&self, at: usize, what: &str) -> Exec<()> {
        if self.cells[at].in_flight {
            return trouble(
                FaultKind::NotArrived,
                format!("{what} shared address {at:#x} while a background copy into it is on its way"),
            );
        }
        Ok(())
    }

    /// Reads bytes for a thread.
    pub fn read(&mut self, who: Who, offset: u64, size: usize) -> Exec<&[u8]> {
        let range = self.check("reads", offset, size)?;
        for at in range.clone() {
            self.note_read(who, at)?;
        }
        Ok(&self.bytes[range])
    }

    fn note_read(&mut self, who: Who, at: usize) -> Exec<()> {
        let cell = self.cells[at];
        self.arrived(at, "reads")?;
        if cell.write.time == 0 {
            let message =
                format!("reads shared address {at:#x}, which was not written (or not yet: a barrier may be missing)");
            return trouble(FaultKind::Uninitialised, message);
        }
        let both_strong = who.strong && cell.strong_write;
        if !both_strong && !self.before(cell.write, who) {
            return self.race(at, "reads", "wrote", cell.write);
        }
        let mut stamp = self.stamp(who);
        let merge = |old: Stamp, mut new: Stamp| {
            if old.time == new.time && old.lane != new.lane {
                new.lane = SEVERAL;
            }
            new
        };
        if cell.readers != 0 {
            let mine = &mut self.readers[cell.readers as usize - 1][who.warp];
            *mine = merge(*mine, stamp);
            return Ok(());
        }
        if cell.read.time != 0 && usize::from(cell.read.warp) == who.warp {
            stamp = merge(cell.read, stamp);
        } else if cell.read.time != 0 && !self.before(cell.read, who) {
            let list = self.new_list();
            self.readers[list as usize][usize::from(cell.read.warp)] = cell.read;
            self.readers[list as usize][who.warp] = stamp;
            self.cells[at].readers = list + 1;
        }
        self.cells[at].read = stamp;
        Ok(())
    }

    fn new_list(&mut self) -> u32 {
        match self.free.pop() {
            Some(list) => {
                self.readers[list as usize].fill(Stamp::default());
                list
            }
            None => {
                self.readers.push(vec![Stamp::default(); self.warps]);
                self.readers.len() as u32 - 1
            }
        }
    }

    /// Checks that nothing that is not known to be over conflicts with a write.
    fn may_write(&mut self, who: Who, at: usize, what: &str) -> Exec<()> {
        let cell = self.cells[at];
        self.arrived(at, what)?;
        if cell.write.time != 0 && !(who.strong && cell.strong_write) && !self.before(cell.write, who) {
            return self.race(at, what, "wrote", cell.write);
        }
        if cell.readers != 0 {
            let list = &self.readers[cell.readers as usize - 1];
            if let Some(other) = list.iter().find(|s| s.time != 0 && !self.read_before(**s, who)) {
                return self.race(at, what, "read", *other);
            }
        } else if cell.read.time != 0 && !self.read_before(cell.read, who) {
            return self.race(at, what, "read", cell.read);
        }
        Ok(())
    }

    fn note_write(&mut self, at: usize, stamp: Stamp, strong: bool, in_flight: bool, unfenced: bool) {
        let cell = &mut self.cells[at];
        if cell.readers != 0 {
            self.free.push(cell.readers - 1);
        }
        *cell = Cell { write: stamp, read: Stamp::default(), readers: 0, strong_write: strong, in_flight, unfenced };
    }

    /// Writes bytes for a thread.
    pub fn write(&mut self, who: Who, offset: u64, bytes: &[u8]) -> Exec<()> {
        let range = self.check("writes", offset, bytes.len())?;
        for (at, new) in range.zip(bytes) {
            match self.may_write(who, at, "writes") {
                Ok(()) => self.note_write(at, self.stamp(who), who.strong, false, true),
                // The byte already has this value: the order makes no difference.
                Err(t) if t.kind == FaultKind::Race && self.bytes[at] == *new => {}
                Err(t) => return Err(t),
            }
            self.bytes[at] = *new;
        }
        Ok(())
    }

    /// Reads and writes as one step.
    pub fn update(&mut self, who: Who, offset: u64, size: usize, f: impl FnOnce(&mut [u8])) -> Exec<()> {
        let range = self.check("updates", offset, size)?;
        for at in range.clone() {
            if self.cells[at].write.time == 0 {
                let message = format!("updates shared address {at:#x}, which was never written");
                return trouble(FaultKind::Uninitialised, message);
            }
            self.may_write(who, at, "updates")?;
            self.note_write(at, self.stamp(who), true, false, true);
        }
        f(&mut self.bytes[range]);
        Ok(())
    }

    /// A background copy into these bytes begins: whoever touches them before it has landed is wrong.
    pub fn begin_copy(&mut self, who: Who, offset: u64, size: usize) -> Exec<()> {
        for at in self.check("copies", offset, size)? {
            self.may_write(who, at, "copies to")?;
            self.note_write(at, self.stamp(who), false, true, false);
        }
        Ok(())
    }

    /// A copy has landed, for the thread that waited for it.
    pub fn land(&mut self, who: Who, offset: u64, bytes: &[u8]) {
        let stamp = self.stamp(who);
        self.put(stamp, offset, bytes, true);
    }

    /// A copy of the engine has landed; what it returns is to be passed on to those who wait.
    pub fn land_by_engine(&mut self, line: u32, offset: u64, bytes: &[u8]) -> Clock {
        let (time, engine) = (self.order.engine_tick(), self.order.engine());
        self.put(Stamp { time, line, warp: engine as u8, lane: 0 }, offset, bytes, false);
        let mut clock = Clock::default();
        clock.note(engine, time);
        clock
    }

    fn put(&mut self, stamp: Stamp, offset: u64, bytes: &[u8], unfenced: bool) {
        let start = offset as usize;
        for (i, new) in bytes.iter().enumerate() {
            self.note_write(start + i, stamp, false, false, unfenced);
            self.bytes[start + i] = *new;
        }
    }

    /// Reads for the asynchronous proxy on behalf of a thread: ordinary stores have to be fenced first.
    pub fn read_by_proxy(&mut self, who: Who, offset: u64, size: usize) -> Exec<&[u8]> {
        let range = self.check("reads", offset, size)?;
        for at in range.clone() {
            self.note_read(who, at)?;
            let cell = self.cells[at];
            if cell.unfenced && cell.write.time > self.proxied.of(usize::from(cell.write.warp)) {
                return trouble(
                    FaultKind::Proxy,
                    format!(
                        "the asynchronous proxy reads shared address {at:#x}, which line {} wrote with an ordinary store; \
                         fence.proxy.async has to stand between",
                        cell.write.line
                    ),
                );
            }
        }
        Ok(&self.bytes[range])
    }

    /// `fence.proxy.async` of a warp: what it knows of is now known to the proxy.
    pub fn fence_proxy(&mut self, warp: usize) {
        let known = self.order.clock(warp).clone();
        self.proxied.join(&known);
        // What it stores from now on is not.
        self.order.tick(warp);
    }

    /// Bytes without any check, for comparison.
    pub fn peek(&self, offset: u64, size: usize) -> &[u8] {
        let start = (offset as usize).min(self.bytes.len());
        &self.bytes[start..(start + size).min(self.bytes.len())]
    }
}
