//! Ctrl-C and SIGTERM, as a question that loops ask.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Remembers whether this process was asked to stop.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Catches both signals from here on.
    pub(crate) fn register() -> io::Result<Self> {
        let requested = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&requested))?;
        }
        Ok(Self(requested))
    }

    pub(crate) fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// # Errors
    /// When this process was asked to stop.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(!self.requested(), "interrupted");
        Ok(())
    }
}
