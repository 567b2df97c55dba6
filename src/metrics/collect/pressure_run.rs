//! The pressure run: as it goes, and what came of the last one.

use super::{Families, Scrape, Success};
use crate::engine::pressure::{State, Status};
use crate::metrics::table as t;

pub(super) fn collect(scrape: &Scrape<'_>, out: &mut Families) -> Success {
    let service = &scrape.runs.pressure;
    let last = service.last();
    let own = service.status();
    let running = own
        .as_ref()
        .is_some_and(|status| status.state != State::Ended);
    // A run that is over is shown as it was kept: another process may have had one since.
    let shown = match (&own, &last) {
        (Some(own), _) if running => own.clone(),
        (_, Some(last)) => Status::of(last),
        (Some(own), None) => own.clone(),
        (None, None) => return true,
    };
    out.put_labelled(
        &t::RUN_STATE,
        State::ALL
            .iter()
            .map(|state| ([state.name()], f64::from(u8::from(*state == shown.state)))),
    );
    // While one runs, the reason is still that of the one before.
    let reason = last.as_ref().map(|last| &last.reason);
    let reason = reason.or(shown.reason.as_ref());
    out.put_labelled(
        &t::RUN_REASON,
        reason.map(|reason| ([reason.code.name()], 1.0)),
    );
    out.put_counts(&[
        (&t::RUN_TARGET, Some(shown.target_bytes)),
        (&t::RUN_TOUCHED, Some(shown.touched_bytes)),
        (&t::RUN_VERIFIED, Some(shown.verified_bytes)),
        (&t::RUN_MISMATCHES, Some(shown.mismatches)),
    ]);
    out.put(&t::RUN_FILL, shown.fill_bytes_per_second);
    out.put(&t::RUN_VERIFY, shown.verify_bytes_per_second);
    out.put_count(&t::RUN_FOOTPRINT, shown.footprint_bytes);
    out.put(&t::RUN_SECONDS, Some(shown.seconds));
    if let Some(last) = last {
        out.put(&t::RUN_TIME, Some(last.ended_at_unix_seconds));
        out.put(&t::RUN_GONE, last.release.worker_gone_seconds);
        out.put(&t::RUN_BACK, last.release.machine_back_seconds);
    }
    true
}
