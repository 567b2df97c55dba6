//! What the daemon itself did.

use std::env::consts::{ARCH, OS};

use super::{Families, Scrape, Success};
use crate::metrics::activity::Dropped;
use crate::metrics::table as t;

pub(super) fn collect(scrape: &Scrape<'_>, out: &mut Families) -> Success {
    let activity = scrape.activity;
    out.put_labelled(
        &t::BUILD_INFO,
        [([env!("CARGO_PKG_VERSION"), OS, ARCH], 1.0)],
    );

    let reloads = activity.reloads();
    let rows = [
        (["success"], reloads.good as f64),
        (["failure"], reloads.bad as f64),
    ];
    out.put_labelled(&t::CONFIG_RELOADS, rows);
    out.put(
        &t::CONFIG_SUCCESS,
        Some(f64::from(u8::from(reloads.last_good))),
    );
    out.put(&t::CONFIG_TIME, Some(reloads.in_use_since_unix_seconds));

    let requests: Vec<_> = activity
        .requests()
        .into_iter()
        .map(|(code, count)| (code.to_string(), count))
        .collect();
    out.put_labelled(
        &t::HTTP_REQUESTS,
        requests
            .iter()
            .map(|(code, count)| ([code.as_str()], *count as f64)),
    );
    let (open, accepted) = activity.connections();
    out.put(&t::HTTP_CONNECTIONS, Some(open as f64));
    out.put_count(&t::HTTP_ACCEPTED, Some(accepted));
    let dropped = Dropped::ALL.map(|why| ([why.reason()], activity.dropped_count(why) as f64));
    out.put_labelled(&t::HTTP_DROPPED, dropped);
    true
}
