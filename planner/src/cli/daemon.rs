//! Calls to a running shvd.

use std::time::Duration;

/// How long a daemon may take to answer; it writes a reservation to the disk before it does.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// The most that is read of an answer: a sample with its processes has some ten thousand bytes.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// The variable that a bearer token is read from: a command line is seen by every user.
const TOKEN: &str = "SHVPLAN_SHVD_TOKEN";

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    Get,
    /// With a document.
    Post(String),
    Delete,
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// Where something stands below a daemon's URL.
pub(crate) fn address(url: &str, what: &str) -> String {
    format!("{}/api/v1/{what}", url.trim_end_matches('/'))
}

/// Asks.
///
/// # Errors
/// Why there is no answer, with the address.
pub(crate) fn call(address: &str, ask: Ask) -> Result<Answer, String> {
    let failed = |e: ureq::Error| format!("{address}: {e}");
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(ANSWER_TIME_MAX))
        .http_status_as_error(false)
        .build()
        .into();
    let authorization = std::env::var(TOKEN).ok().map(|t| format!("Bearer {t}"));
    let mut response = match ask {
        Ask::Get => with(agent.get(address), authorization).call(),
        Ask::Delete => with(agent.delete(address), authorization).call(),
        Ask::Post(document) => with(agent.post(address), authorization)
            .header("Content-Type", "application/json")
            .send(document),
    }
    .map_err(failed)?;
    let status = response.status().as_u16();
    let text = response
        .body_mut()
        .with_config()
        .limit(ANSWER_BYTES_MAX)
        .read_to_string()
        .map_err(failed)?;
    Ok(Answer { status, text })
}

fn with<B>(
    request: ureq::RequestBuilder<B>,
    authorization: Option<String>,
) -> ureq::RequestBuilder<B> {
    match authorization {
        Some(value) => request.header("Authorization", value),
        None => request,
    }
}

impl Answer {
    /// What it says went wrong.
    pub(crate) fn problem(&self) -> String {
        if self.status == 401 {
            return format!("401: a token of the daemon is expected in {TOKEN}");
        }
        let told = serde_json::from_str::<serde_json::Value>(&self.text)
            .ok()
            .and_then(|value| value.get("error")?.as_str().map(str::to_owned));
        let told = told.unwrap_or_else(|| self.text.trim().chars().take(200).collect());
        if told.is_empty() {
            return self.status.to_string();
        }
        format!("{}: {told}", self.status)
    }
}
