//! Turns interrupts into a call.

use std::thread;

use tokio::signal::unix::{SignalKind, signal};

/// Calls `stop` at the first SIGINT, SIGTERM or SIGHUP, on a thread of its own.
pub(super) fn on_interrupt(stop: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let waited = runtime.and_then(|runtime| {
            runtime.block_on(async {
                let mut interrupt = signal(SignalKind::interrupt())?;
                let mut terminate = signal(SignalKind::terminate())?;
                let mut hangup = signal(SignalKind::hangup())?;
                tokio::select! {
                    _ = interrupt.recv() => {},
                    _ = terminate.recv() => {},
                    _ = hangup.recv() => {},
                }
                Ok(())
            })
        });
        // Without handlers the signals keep their default: they end this process, and the worker notices.
        if waited.is_ok() {
            stop();
        }
    });
}
