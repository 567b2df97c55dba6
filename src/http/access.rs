//! Who may call: users and tokens with hashed secrets, hosts and origins by which a web page could be tricked.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use crate::config::{Config, ConfigError, WebConfig, token_digest};

/// Good passwords that are remembered, so that bcrypt, slow on purpose, is paid once and not at each scrape.
const REMEMBERED_MAX: usize = 64;
/// Passwords that are checked at once: bcrypt takes a core for a tenth of a second.
const CHECKS_MAX: usize = 2;
/// The hash that an unknown user's password is checked against, so that the time does not tell which users exist. It is
/// that of a random password nobody keeps.
const NOBODY: &str = "$2b$10$BS1Hl8L8Ax6fX.ln9/6wFusmIoO4IeqElQfibcGiqgdIUmeM/NQSa";

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// The Host header is missing or not one this server goes by.
    Host,
    /// A web page of another origin asks.
    Origin,
    /// No user or token, or a wrong one.
    Unauthorized,
}

/// What a caller must show, made from the settings.
pub struct Access {
    users: BTreeMap<String, String>,
    tokens: Vec<[u8; 32]>,
    allowed_hosts: Vec<String>,
    allowed_origins: Vec<String>,
    remembered: Mutex<Vec<[u8; 32]>>,
    checks: Semaphore,
}

impl Access {
    /// Reads the web-config file that the settings name, and refuses to listen beyond loopback without a secret.
    ///
    /// # Errors
    /// When the file is refused, or callers from elsewhere would need no secret.
    pub fn new(config: &Config, web: &WebConfig) -> Result<Self, ConfigError> {
        let listen = &config.listen;
        if !listen.address.ip().is_loopback() && !web.authenticates() {
            return Err(ConfigError {
                file: listen.web_config.clone().unwrap_or_default(),
                at: None,
                problem: format!(
                    "listen.address: {} is not a loopback address: listen.web_config with basic_auth_users, bearer_tokens or required client certificates is needed to listen there",
                    listen.address
                ),
            });
        }
        Ok(Self {
            users: web.basic_auth_users.clone(),
            tokens: web
                .bearer_tokens
                .values()
                .filter_map(|hash| token_digest(hash))
                .collect(),
            allowed_hosts: listen
                .allowed_hosts
                .iter()
                .map(|h| h.to_ascii_lowercase())
                .collect(),
            allowed_origins: listen
                .allowed_origins
                .iter()
                .map(|o| o.to_ascii_lowercase())
                .collect(),
            remembered: Mutex::new(Vec::new()),
            checks: Semaphore::new(CHECKS_MAX),
        })
    }

    /// Checks one request's header.
    pub(super) async fn check(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let host = text(headers, &HOST)
            .ok_or(Denied::Host)?
            .to_ascii_lowercase();
        if !self.goes_by(&host) {
            return Err(Denied::Host);
        }
        if headers.contains_key(ORIGIN) {
            let origin = text(headers, &ORIGIN)
                .ok_or(Denied::Origin)?
                .to_ascii_lowercase();
            let own = origin
                .strip_prefix("http://")
                .or(origin.strip_prefix("https://"))
                == Some(&host);
            if !own && !self.allowed_origins.contains(&origin) {
                return Err(Denied::Origin);
            }
        }
        if self.users.is_empty() && self.tokens.is_empty() {
            return Ok(());
        }
        let shown = text(headers, &AUTHORIZATION).ok_or(Denied::Unauthorized)?;
        if self.knows(shown).await {
            Ok(())
        } else {
            Err(Denied::Unauthorized)
        }
    }

    /// An address cannot be rebound, and loopback names are this machine's; any other name has to be allowed.
    fn goes_by(&self, host: &str) -> bool {
        let name = host_name(host);
        name == "localhost"
            || name.parse::<IpAddr>().is_ok()
            || self.allowed_hosts.iter().any(|allowed| allowed == name)
    }

    async fn knows(&self, shown: &str) -> bool {
        let (scheme, value) = shown.split_once(' ').unwrap_or((shown, ""));
        let value = value.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            let digest: [u8; 32] = Sha256::digest(value.as_bytes()).into();
            // All are compared, so that the time does not tell which one is near.
            return self.tokens.iter().fold(false, |found, token| {
                found | bool::from(token.ct_eq(&digest))
            });
        }
        if !scheme.eq_ignore_ascii_case("basic") || self.users.is_empty() {
            return false;
        }
        let Some((user, password)) = decoded(value) else {
            return false;
        };
        let hash = self
            .users
            .get(&user)
            .map_or(NOBODY, String::as_str)
            .to_owned();
        let key: [u8; 32] = Sha256::new()
            .chain_update(user.len().to_le_bytes())
            .chain_update(&user)
            .chain_update(&password)
            .chain_update(&hash)
            .finalize()
            .into();
        let remembered = || {
            self.remembered
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if remembered()
            .iter()
            .any(|known| bool::from(known.ct_eq(&key)))
        {
            return true;
        }
        let Ok(_permit) = self.checks.acquire().await else {
            return false;
        };
        let good =
            tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false))
                .await
                .unwrap_or(false);
        let good = good && self.users.contains_key(&user);
        if good {
            let mut known = remembered();
            if known.len() >= REMEMBERED_MAX {
                known.remove(0);
            }
            known.push(key);
        }
        good
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?;
    // Two of one kind: whoever looks at the other one sees something else.
    if all.next().is_some() {
        None
    } else {
        first.to_str().ok()
    }
}

/// A Host header without its port and the brackets of an IPv6 address.
fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or("");
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// User and password of a Basic header.
fn decoded(value: &str) -> Option<(String, String)> {
    let bytes = base64(value)?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Standard base64 with padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD
        .decode(text)
        .ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn access(hosts: &[&str], origins: &[&str], web: &WebConfig) -> Access {
        let mut config = Config::default();
        config.listen.allowed_hosts = hosts.iter().map(ToString::to_string).collect();
        config.listen.allowed_origins = origins.iter().map(ToString::to_string).collect();
        Access::new(&config, web).unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[tokio::test]
    async fn hosts_and_origins_are_checked() {
        let access = access(
            &["mac.example.org"],
            &["https://grafana.example.org"],
            &WebConfig::default(),
        );
        let table: &[(&[(&'static str, &str)], Result<(), Denied>)] = &[
            (&[("host", "127.0.0.1:9464")], Ok(())),
            (&[("host", "localhost:9464")], Ok(())),
            (&[("host", "[::1]:9464")], Ok(())),
            (&[("host", "mac.example.org")], Ok(())),
            (&[("host", "MAC.example.org:9464")], Ok(())),
            (&[("host", "evil.example.org")], Err(Denied::Host)),
            (&[("host", "localhost.evil.example.org")], Err(Denied::Host)),
            (&[("host", "")], Err(Denied::Host)),
            (&[], Err(Denied::Host)),
            (
                &[
                    ("host", "127.0.0.1:9464"),
                    ("origin", "http://127.0.0.1:9464"),
                ],
                Ok(()),
            ),
            (
                &[
                    ("host", "127.0.0.1:9464"),
                    ("origin", "https://grafana.example.org"),
                ],
                Ok(()),
            ),
            (
                &[
                    ("host", "127.0.0.1:9464"),
                    ("origin", "https://evil.example.org"),
                ],
                Err(Denied::Origin),
            ),
            (
                &[("host", "127.0.0.1:9464"), ("origin", "null")],
                Err(Denied::Origin),
            ),
        ];
        for (pairs, expected) in table {
            assert_eq!(access.check(&headers(pairs)).await, *expected, "{pairs:?}");
        }
    }

    #[tokio::test]
    async fn users_and_tokens_are_known_by_their_hashes() {
        let token = Sha256::digest(b"secret token")
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<String>();
        let web = WebConfig {
            basic_auth_users: BTreeMap::from([(
                "ann".to_owned(),
                bcrypt::hash("pass word", 4).unwrap(),
            )]),
            bearer_tokens: BTreeMap::from([("ci".to_owned(), format!("sha256:{token}"))]),
            ..WebConfig::default()
        };
        let access = access(&[], &[], &web);
        let with = |value: &str| headers(&[("host", "localhost"), ("authorization", value)]);
        use ::base64::Engine as _;
        let basic = |text: &str| {
            format!(
                "Basic {}",
                ::base64::engine::general_purpose::STANDARD.encode(text)
            )
        };
        assert_eq!(access.check(&with(&basic("ann:pass word"))).await, Ok(()));
        assert_eq!(
            access.check(&with(&basic("ann:pass word"))).await,
            Ok(()),
            "remembered"
        );
        assert_eq!(access.check(&with("Bearer secret token")).await, Ok(()));
        for bad in [
            basic("ann:pass"),
            basic("bob:pass word"),
            basic("ann"),
            "Basic !!!".to_owned(),
            "Bearer x".to_owned(),
            "Digest x".to_owned(),
            String::new(),
        ] {
            assert_eq!(
                access.check(&with(&bad)).await,
                Err(Denied::Unauthorized),
                "{bad}"
            );
        }
        assert_eq!(
            access.check(&headers(&[("host", "localhost")])).await,
            Err(Denied::Unauthorized)
        );
    }

    #[test]
    fn beyond_loopback_needs_a_secret() {
        let mut config = Config::default();
        config.listen.address = ([0, 0, 0, 0], 9464).into();
        let refused = Access::new(&config, &WebConfig::default()).err().unwrap();
        assert!(
            refused.problem.contains("0.0.0.0:9464")
                && refused.problem.contains("basic_auth_users"),
            "{}",
            refused.problem
        );
        assert!(
            bcrypt::verify("anything", NOBODY).is_ok_and(|good| !good),
            "the stand-in must be a real hash"
        );
    }
}
