//! A stream with deadlines: one for a request's header (TLS handshake included), one for standing still.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What a connection is doing. The service sets it; the stream and the accept loop look at it.
#[derive(Debug, Default)]
pub(super) struct Phase(AtomicU8);

const HEADER: u8 = 0;
const SERVING: u8 = 1;
const IDLE: u8 = 2;
/// It has to make way for another connection.
const LEAVING: u8 = 3;
/// Set once the first request is there, and never taken back.
const ASKED: u8 = 4;

impl Phase {
    /// A request's header has been read. `false` when the connection has to make way instead.
    pub(super) fn serving(&self) -> bool {
        self.change(|state| (state & !ASKED != LEAVING).then_some(SERVING | ASKED))
    }

    /// A response has been handed over whole.
    pub(super) fn idle(&self) {
        self.change(|state| (state & !ASKED == SERVING).then_some(IDLE | ASKED));
    }

    /// Tells the connection to make way. `false` when it is answering a request, which it may finish.
    pub(super) fn leave(&self) -> bool {
        self.change(|state| matches!(state & !ASKED, HEADER | IDLE).then_some(LEAVING))
    }

    /// Whether the connection ever sent a request, if it is waiting for one now.
    pub(super) fn waits_having_asked(&self) -> Option<bool> {
        let state = self.0.load(Ordering::Acquire);
        matches!(state & !ASKED, HEADER | IDLE).then_some(state & ASKED != 0)
    }

    fn is(&self, state: u8) -> bool {
        self.0.load(Ordering::Acquire) & !ASKED == state
    }

    fn header_began(&self) {
        self.change(|state| (state & !ASKED == IDLE).then_some(HEADER | state & ASKED));
    }

    fn change(&self, to: impl Fn(u8) -> Option<u8>) -> bool {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, to)
            .is_ok()
    }
}

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// From the connection, or the first byte of a later request, to the end of the header.
    pub(super) header: Duration,
    /// Without a byte in either direction.
    pub(super) idle: Duration,
}

/// A stream whose reads and writes fail once a deadline has passed.
pub(super) struct Timed<S> {
    stream: S,
    phase: Arc<Phase>,
    patience: Patience,
    header_until: Instant,
    moved_at: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl<S> Timed<S> {
    pub(super) fn new(stream: S, phase: Arc<Phase>, patience: Patience) -> Self {
        let now = Instant::now();
        let header_until = now + patience.header;
        let sleep = Box::pin(tokio::time::sleep_until(header_until));
        Self {
            stream,
            phase,
            patience,
            header_until,
            moved_at: now,
            sleep,
        }
    }

    fn moved(&mut self) {
        self.moved_at = Instant::now();
    }

    /// Fails when the deadline of the present phase has passed; else wakes the task when it will have.
    fn check(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let deadline = if self.phase.is(HEADER) {
            self.header_until
        } else {
            self.moved_at + self.patience.idle
        };
        if self.sleep.deadline() != deadline {
            self.sleep.as_mut().reset(deadline);
        }
        self.sleep
            .as_mut()
            .poll(context)
            .map(|()| io::Error::from(io::ErrorKind::TimedOut))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.check(context).map(Err),
            Poll::Ready(Ok(())) => {
                if buffer.filled().len() > before {
                    self.moved();
                    if self.phase.is(IDLE) {
                        self.phase.header_began();
                        self.header_until = self.moved_at + self.patience.header;
                    } else if self.phase.is(HEADER) && self.moved_at >= self.header_until {
                        // A byte now and then does not make a slow header a fast one.
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                }
                Poll::Ready(Ok(()))
            }
            failed @ Poll::Ready(Err(_)) => failed,
        }
    }
}

impl<S: AsyncWrite + Unpin> Timed<S> {
    fn wrote<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match result {
            Poll::Pending => self.check(context).map(Err),
            Poll::Ready(result) => {
                self.moved();
                Poll::Ready(result)
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.wrote(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.wrote(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_waits_makes_way_and_one_that_answers_does_not() {
        let phase = Phase::default();
        assert_eq!(phase.waits_having_asked(), Some(false));
        assert!(phase.serving());
        assert_eq!(phase.waits_having_asked(), None);
        assert!(!phase.leave());
        phase.idle();
        assert_eq!(phase.waits_having_asked(), Some(true));
        phase.header_began();
        assert!(phase.is(HEADER));
        assert_eq!(phase.waits_having_asked(), Some(true));
        assert!(phase.leave());
        assert!(!phase.serving(), "it is too late for a request");
        assert!(!phase.leave(), "once is enough");
    }
}
