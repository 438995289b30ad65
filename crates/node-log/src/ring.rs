//! Which segments there are, and whose records in them are not yet safe elsewhere. Pure: no files, no locks.
//!
//! Segments are freed oldest first, so that those in use are always consecutive numbers.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use tenantry_types::TenantUid;

use crate::folder::Spare;
use crate::lsn::Lsn;
use crate::segment::SegmentHeader;

/// The segments.
#[derive(Debug)]
pub(crate) struct Ring {
    most: usize,
    /// Oldest first; the last one is being filled.
    live: VecDeque<Live>,
    /// Freed, and not yet renamed.
    freed: Vec<u64>,
    spares: VecDeque<Spare>,
    next_number: u64,
    next_fresh: u64,
}

#[derive(Debug)]
struct Live {
    number: u64,
    /// The last record here of each tenant that has one which is not covered.
    uncovered: HashMap<TenantUid, Lsn>,
    last: Lsn,
}

impl Ring {
    pub(crate) fn new(most: usize, spares: Vec<Spare>, next_number: u64, next_fresh: u64) -> Self {
        Self {
            most,
            live: VecDeque::new(),
            freed: Vec::new(),
            spares: spares.into(),
            next_number,
            next_fresh,
        }
    }

    /// Takes a spare for the next segment; `None` if there is none.
    pub(crate) fn begin(&mut self, first: Lsn) -> Option<(SegmentHeader, Spare)> {
        let spare = self.spares.pop_front()?;
        let number = self.next_number;
        self.next_number += 1;
        self.live.push_back(Live {
            number,
            uncovered: HashMap::new(),
            last: Lsn::NOTHING,
        });
        let oldest = self.live.front().map_or(number, |live| live.number);
        let header = SegmentHeader {
            number,
            first,
            oldest,
            // Nobody outside can guess it; no two need to differ.
            nonce: RandomState::new().hash_one(number),
        };
        Some((header, spare))
    }

    /// A record went into the segment that is being filled.
    pub(crate) fn note(&mut self, tenant: TenantUid, lsn: Lsn) {
        if let Some(live) = self.live.back_mut() {
            live.uncovered.insert(tenant, lsn);
            live.last = lsn;
        }
    }

    /// What the tenant wrote up to `up_to` is safe in files of its own.
    pub(crate) fn covered(&mut self, tenant: TenantUid, up_to: Lsn) {
        for live in &mut self.live {
            if live.uncovered.get(&tenant).is_some_and(|&last| last <= up_to) {
                live.uncovered.remove(&tenant);
            }
        }
    }

    /// Frees what nobody needs; true if something was freed. A segment goes only when a later one has a durable record: the newest
    /// segment on disk tells where the log ends.
    pub(crate) fn settle(&mut self, durable: Lsn) -> bool {
        let before = self.freed.len();
        while self.live.len() > 1 {
            match self.live.front() {
                Some(oldest) if oldest.uncovered.is_empty() && oldest.last < durable => self.freed.push(oldest.number),
                _ => break,
            }
            self.live.pop_front();
        }
        self.freed.len() > before
    }

    /// The freed segments, to be renamed by the caller, who hands them back with [`Self::add_spares`].
    pub(crate) fn take_freed(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.freed)
    }

    pub(crate) fn add_spares(&mut self, spares: impl IntoIterator<Item = Spare>) {
        self.spares.extend(spares);
    }

    /// The number for a file to be made, if one more is wanted and allowed.
    pub(crate) fn wanted_file(&mut self) -> Option<u64> {
        let files = self.live.len() + self.freed.len() + self.spares.len();
        if self.spares.len() >= self.enough() || files >= self.most {
            return None;
        }
        self.next_fresh += 1;
        Some(self.next_fresh)
    }

    /// Whether fewer than a quarter of the segments are free, at least two where there are more than two.
    pub(crate) fn is_short(&self) -> bool {
        self.most.saturating_sub(self.live.len()) < self.enough()
    }

    /// How many segments are kept free, and so many files are made ahead: nobody who commits waits for one to be filled.
    fn enough(&self) -> usize {
        (self.most / 4).max(2).min(self.most - 1)
    }

    /// Whether no further segment could be begun at once.
    pub(crate) fn is_out(&self) -> bool {
        self.spares.is_empty()
    }

    /// The tenants whose records keep the oldest segment, if it is full.
    pub(crate) fn keeping_the_oldest(&self) -> Vec<TenantUid> {
        match self.live.front() {
            Some(oldest) if self.live.len() > 1 => oldest.uncovered.keys().copied().collect(),
            _ => Vec::new(),
        }
    }

    /// Segments that hold what is needed, the one being filled among them.
    pub(crate) fn live(&self) -> usize {
        self.live.len()
    }

    /// Files that the next segments can be made of.
    pub(crate) fn free(&self) -> usize {
        self.freed.len() + self.spares.len()
    }
}
