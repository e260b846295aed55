//! Signals that must not end the program at the wrong moment.

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// Makes a write beyond `ulimit -f` an error instead of a fatal signal. Threads inherit this, so
/// it is called before any is started.
pub fn block_file_size_signal() {
    // A valid set cannot be refused.
    let _ = SigSet::from(Signal::SIGXFSZ).thread_block();
}

/// Blocks all signals in this thread until it is dropped, so that none leaves a temporary file
/// behind. A thread that is started meanwhile keeps them blocked.
pub struct BlockedSignals {
    previous: Option<SigSet>,
}

impl BlockedSignals {
    pub fn new() -> BlockedSignals {
        let previous = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK);
        BlockedSignals { previous: previous.ok() }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        if let Some(previous) = self.previous {
            // It was valid before.
            let _ = previous.thread_set_mask();
        }
    }
}
