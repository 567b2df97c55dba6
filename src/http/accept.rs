//! The accept loop: as many connections as may be, each with its deadlines, and a drain at the end.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use warp::filters::BoxedFilter;
use warp::http::{HeaderValue, Request, StatusCode, header};

use super::access::Denied;
use super::timed::{Patience, Phase, Timed};
use super::{Shared, routes};
use crate::metrics::{Activity, Dropped};

/// What a caller gets when no more connections may be had.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 21\r\nConnection: close\r\nRetry-After: 1\r\n\r\ntoo many connections\n";
/// Pause after a failed accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The most bytes of a request's header.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// Serves `listener` until `ended` says so, then lets requests finish for as long as the settings allow.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>, mut ended: watch::Receiver<bool>) {
    let filter = routes::all(&shared);
    let open = Arc::new(Open::default());
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            () = said(&mut ended) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let limits = shared.settings.borrow().limits.clone();
        let most = usize::try_from(limits.connections_max.get()).unwrap_or(usize::MAX);
        if open.count() >= most && !open.make_way(&shared.activity) {
            shared.activity.dropped(Dropped::TooMany);
            refuse(stream, shared.gate.borrow().tls.is_some());
            continue;
        }
        let patience = Patience {
            header: Duration::from_millis(limits.header_time_ms.get()),
            idle: Duration::from_millis(limits.idle_time_ms.get()),
        };
        let ticket = Ticket::new(&open, &shared.activity);
        connections.spawn(connection(
            stream,
            ticket,
            patience,
            shared.clone(),
            filter.clone(),
            ended.clone(),
        ));
    }
    drop(listener);
    let time = Duration::from_millis(shared.settings.borrow().limits.drain_time_ms.get());
    let drained = tokio::time::timeout(time, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
    if drained.is_err() {
        tracing::warn!(
            "{} connections did not finish within {} ms",
            connections.len(),
            time.as_millis()
        );
        connections.abort_all();
    }
}

/// Waits until the end is said, or nobody is left who could say it.
pub(super) async fn said(ended: &mut watch::Receiver<bool>) {
    let _ = ended.wait_for(|ended| *ended).await;
}

/// Tells a caller that there is no room, without waiting for it.
fn refuse(mut stream: TcpStream, tls: bool) {
    if tls {
        return;
    }
    tokio::spawn(async move {
        let told = async {
            stream.write_all(BUSY).await?;
            stream.shutdown().await
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
    });
}

/// The connections that are open, oldest first.
#[derive(Default)]
struct Open {
    entries: Mutex<(u64, BTreeMap<u64, Entry>)>,
}

struct Entry {
    phase: Arc<Phase>,
    leave: Arc<Notify>,
}

impl Open {
    fn lock(&self) -> std::sync::MutexGuard<'_, (u64, BTreeMap<u64, Entry>)> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) -> usize {
        self.lock().1.len()
    }

    /// Sends away a connection that waits for a request: the oldest that never sent one, else the oldest of the others.
    /// Whether there was one.
    fn make_way(&self, activity: &Activity) -> bool {
        let mut entries = self.lock();
        let waiting = entries
            .1
            .iter()
            .filter_map(|(id, entry)| Some((entry.phase.waits_having_asked()?, *id)));
        let mut candidates: Vec<_> = waiting.collect();
        candidates.sort_unstable();
        for (_, id) in candidates {
            // Between the two looks its request may have come.
            if entries.1.get(&id).is_some_and(|entry| entry.phase.leave())
                && let Some(entry) = entries.1.remove(&id)
            {
                entry.leave.notify_one();
                activity.dropped(Dropped::MadeWay);
                return true;
            }
        }
        false
    }
}

/// A connection's place among the open ones, given back when it ends.
struct Ticket {
    id: u64,
    phase: Arc<Phase>,
    leave: Arc<Notify>,
    open: Arc<Open>,
    activity: Arc<Activity>,
}

impl Ticket {
    fn new(open: &Arc<Open>, activity: &Arc<Activity>) -> Self {
        let (phase, leave) = (Arc::new(Phase::default()), Arc::new(Notify::new()));
        let mut entries = open.lock();
        entries.0 += 1;
        let id = entries.0;
        entries.1.insert(
            id,
            Entry {
                phase: phase.clone(),
                leave: leave.clone(),
            },
        );
        activity.opened();
        Self {
            id,
            phase,
            leave,
            open: open.clone(),
            activity: activity.clone(),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.open.lock().1.remove(&self.id);
        self.activity.closed();
    }
}

async fn connection(
    stream: TcpStream,
    ticket: Ticket,
    patience: Patience,
    shared: Arc<Shared>,
    filter: BoxedFilter<(warp::reply::Response,)>,
    ended: watch::Receiver<bool>,
) {
    // Answers are small; waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    let timed = Timed::new(stream, ticket.phase.clone(), patience);
    let tls = shared.gate.borrow().tls.clone();
    let Some(tls) = tls else {
        return requests(timed, &ticket, shared, filter, ended).await;
    };
    let handshake = tokio::select! {
        handshake = tls.accept(timed) => handshake,
        () = ticket.leave.notified() => return,
    };
    match handshake {
        Ok(stream) => requests(stream, &ticket, shared, filter, ended).await,
        Err(error) => {
            let slow = error.kind() == io::ErrorKind::TimedOut;
            shared.activity.dropped(if slow {
                Dropped::TooSlow
            } else {
                Dropped::Handshake
            });
            tracing::debug!("TLS handshake failed: {error}");
        }
    }
}

async fn requests<S>(
    stream: S,
    ticket: &Ticket,
    shared: Arc<Shared>,
    filter: BoxedFilter<(warp::reply::Response,)>,
    mut ended: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let phase = ticket.phase.clone();
    let activity = shared.activity.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (phase, shared, filter) = (phase.clone(), shared.clone(), filter.clone());
        async move {
            if !phase.serving() {
                return Err(MadeWay);
            }
            let finished = Finished(phase);
            let response = respond(request, &shared, filter).await;
            shared.activity.answered(response.status().as_u16());
            Ok(response.map(|body| Watched {
                body,
                _finished: finished,
            }))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = ticket.leave.notified() => return,
        () = said(&mut ended) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        let slow = std::error::Error::source(&error)
            .and_then(|e| e.downcast_ref::<io::Error>())
            .is_some_and(|e| e.kind() == io::ErrorKind::TimedOut);
        if slow {
            activity.dropped(Dropped::TooSlow);
        }
        tracing::debug!("a connection ended: {error}");
    }
}

/// Checks a request, reads its body within the limit, and has it answered.
async fn respond(
    request: Request<Incoming>,
    shared: &Arc<Shared>,
    filter: BoxedFilter<(warp::reply::Response,)>,
) -> warp::reply::Response {
    let gate = shared.gate.borrow().clone();
    if let Err(denied) = gate.access.check(request.headers()).await {
        tracing::debug!(path = request.uri().path(), "denied: {denied:?}");
        return refusal(denied);
    }
    let limits = shared.settings.borrow().limits.clone();
    let most = usize::try_from(limits.body_bytes_max.get()).unwrap_or(usize::MAX);
    let (head, body) = request.into_parts();
    let time = Duration::from_millis(limits.idle_time_ms.get());
    let body = match whole(body, most, time, &shared.activity).await {
        Ok(body) => body,
        Err(refused) => return *refused,
    };
    let mut service = warp::service(filter);
    let answered =
        tower_service::Service::call(&mut service, Request::from_parts(head, Full::new(body)))
            .await;
    match answered {
        Ok(response) => hardened(response),
        Err(never) => match never {},
    }
}

/// The whole body, where it is no longer than `most` and comes within `time`; else what is answered.
async fn whole(
    body: Incoming,
    most: usize,
    time: Duration,
    activity: &Activity,
) -> Result<Bytes, Box<warp::reply::Response>> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > most as u64 {
        return Err(too_large(most).into());
    }
    // The whole body has this long: one that drips would else hold its connection for as long as it likes.
    let whole = tokio::time::timeout(time, Limited::new(body, most).collect());
    let refused = match whole.await {
        Ok(Ok(collected)) => return Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => too_large(most),
        Err(_) => {
            activity.dropped(Dropped::TooSlow);
            closing(routes::problem(
                StatusCode::REQUEST_TIMEOUT,
                &format!("the body did not come within {} ms", time.as_millis()),
            ))
        }
        Ok(Err(_)) => closing(routes::problem(
            StatusCode::BAD_REQUEST,
            "the body did not come whole",
        )),
    };
    Err(refused.into())
}

fn too_large(most: usize) -> warp::reply::Response {
    closing(routes::problem(
        StatusCode::PAYLOAD_TOO_LARGE,
        &format!("the body is larger than {most} bytes, the most that is accepted"),
    ))
}

/// The connection is closed after this answer: what is left of the body is not read.
fn closing(mut response: warp::reply::Response) -> warp::reply::Response {
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn refusal(denied: Denied) -> warp::reply::Response {
    match denied {
        Denied::Host => routes::text(
            StatusCode::MISDIRECTED_REQUEST,
            "this server does not go by that Host: use an address or localhost, or list the name under listen.allowed_hosts\n",
        ),
        Denied::Origin => routes::text(
            StatusCode::FORBIDDEN,
            "pages of that origin may not call this server: list it under listen.allowed_origins\n",
        ),
        Denied::Unauthorized => {
            let mut response = routes::text(
                StatusCode::UNAUTHORIZED,
                "a user and password, or a bearer token, is needed\n",
            );
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"shvd\""),
            );
            response
        }
    }
}

/// No guessing of types, no framing.
fn hardened(mut response: warp::reply::Response) -> warp::reply::Response {
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    response
}

/// The connection was told to make way when its request came.
#[derive(Debug, thiserror::Error)]
#[error("it made way for another connection")]
struct MadeWay;

/// Tells the connection that a response is through, however it ends.
struct Finished(Arc<Phase>);

impl Drop for Finished {
    fn drop(&mut self) {
        self.0.idle();
    }
}

/// A body that tells when it is gone.
struct Watched<B> {
    body: B,
    _finished: Finished,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
