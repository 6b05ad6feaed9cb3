//! Statistics of memory accesses: sectors of global memory, banks of shared memory.

use crate::program::lanes::WARP;
use crate::report::{Count, GlobalTraffic, SharedTraffic};
use smallvec::SmallVec;

/// What one step did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Site {
    pub count: Count,
    pub global: GlobalTraffic,
    pub shared: SharedTraffic,
}

/// The addresses of one access of a warp.
#[derive(Debug, Default)]
pub(crate) struct Request {
    global: SmallVec<[u64; WARP]>,
    /// Lane and offset.
    shared: SmallVec<[(u8, u32); WARP]>,
}

impl Request {
    pub fn global(&mut self, address: u64) {
        self.global.push(address);
    }

    pub fn shared(&mut self, lane: usize, offset: u64) {
        self.shared.push((lane as u8, offset as u32));
    }

    /// Counts the access, of which each lane has `bytes`.
    pub fn count(mut self, bytes: u32, site: &mut Site) {
        if !self.global.is_empty() {
            site.global += sectors(&mut self.global, u64::from(bytes));
        }
        if !self.shared.is_empty() {
            site.shared += passes(&self.shared, bytes);
        }
    }
}

fn sectors(addresses: &mut SmallVec<[u64; WARP]>, bytes: u64) -> GlobalTraffic {
    if !addresses.is_sorted() {
        addresses.sort_unstable();
    }
    let (mut touched, mut distinct, mut last, mut end) = (0, 0, u64::MAX, 0);
    for a in addresses.iter() {
        for sector in a / 32..=(a + bytes - 1) / 32 {
            if last == u64::MAX || sector > last {
                touched += 1;
                last = sector;
            }
        }
        // Bytes that several lanes share are needed once.
        distinct += (a + bytes).saturating_sub((*a).max(end));
        end = end.max(a + bytes);
    }
    GlobalTraffic { requests: 1, sectors: touched, ideal: distinct.div_ceil(32) }
}

/// A warp's access takes a pass for 32 lanes of 4 bytes, for 16 of 8 and for 8 of 16; in a pass, each bank delivers one
/// word, to any number of lanes.
fn passes(lanes: &[(u8, u32)], bytes: u32) -> SharedTraffic {
    let per_pass = (128 / bytes.max(4)) as u8;
    let mut traffic = SharedTraffic { requests: 1, ..SharedTraffic::default() };
    for group in lanes.chunk_by(|a, b| a.0 / per_pass == b.0 / per_pass) {
        let mut words: SmallVec<[u32; WARP]> = SmallVec::new();
        for (_, offset) in group {
            words.extend((offset / 4)..=((offset + bytes - 1) / 4));
        }
        words.sort_unstable();
        words.dedup();
        let mut banks = [0u8; 32];
        words.iter().for_each(|w| banks[(w % 32) as usize] += 1);
        traffic.passes += u64::from(banks.into_iter().max().unwrap_or(1));
        traffic.ideal += 1;
    }
    traffic
}
