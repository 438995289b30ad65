//! A rolling hash over what happens, to tell whether two runs are the same.

/// 64-bit FNV-1a.
#[derive(Debug)]
pub(super) struct Trace(u64);

impl Trace {
    pub(super) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Notes that `what` happened, with the numbers and bytes that belong to it.
    pub(super) fn note(&mut self, what: &str, numbers: &[u64], bytes: &[u8]) {
        self.mix(what.as_bytes());
        for number in numbers {
            self.mix(&number.to_be_bytes());
        }
        self.mix(bytes);
    }

    pub(super) const fn hash(&self) -> u64 {
        self.0
    }

    fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
