//! The web-config file: TLS and users, in node_exporter's format, with hashed bearer tokens beside its users.
//!
//! Settings of that format which this server does not have are refused by name rather than ignored: a file that asks
//! for certain cipher suites must not come up with others.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

/// A web-config file.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebConfig {
    /// TLS; plain HTTP without it.
    pub tls_server_config: Option<TlsSettings>,
    /// Users and the bcrypt hashes of their passwords.
    pub basic_auth_users: BTreeMap<String, String>,
    /// Names of bearer tokens and `sha256:` with the 64 hex digits of each token's SHA-256.
    pub bearer_tokens: BTreeMap<String, String>,
}

/// Hashes are secrets too: only names are shown.
impl fmt::Debug for WebConfig {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("WebConfig")
            .field("tls_server_config", &self.tls_server_config)
            .field("basic_auth_users", &self.basic_auth_users.keys())
            .field("bearer_tokens", &self.bearer_tokens.keys())
            .finish()
    }
}

/// How TLS is offered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// PEM file with the certificate and its chain.
    pub cert_file: PathBuf,
    /// PEM file with the private key.
    pub key_file: PathBuf,
    /// Whether clients show certificates.
    #[serde(default)]
    pub client_auth_type: ClientCertificates,
    /// PEM file with the authorities that sign client certificates.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
    /// Oldest version offered.
    #[serde(default = "TlsVersion::oldest")]
    pub min_version: TlsVersion,
    /// Newest version offered.
    #[serde(default = "TlsVersion::newest")]
    pub max_version: TlsVersion,
}

/// Whether clients show certificates. The two modes of Go that take a certificate without checking it are not offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum ClientCertificates {
    /// They need none.
    #[default]
    NoClientCert,
    /// They need none, but one that is shown must be good.
    VerifyClientCertIfGiven,
    /// They need a good one.
    RequireAndVerifyClientCert,
}

/// Versions of TLS that are offered at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum TlsVersion {
    /// 1.2
    #[serde(rename = "TLS12")]
    Tls12,
    /// 1.3
    #[serde(rename = "TLS13")]
    Tls13,
}

impl TlsVersion {
    fn oldest() -> Self {
        Self::Tls12
    }

    fn newest() -> Self {
        Self::Tls13
    }
}

impl WebConfig {
    /// Whether a caller has to show who it is.
    #[must_use]
    pub fn authenticates(&self) -> bool {
        let certificate_needed = self.tls_server_config.as_ref().is_some_and(|tls| {
            tls.client_auth_type == ClientCertificates::RequireAndVerifyClientCert
        });
        certificate_needed || !self.basic_auth_users.is_empty() || !self.bearer_tokens.is_empty()
    }

    /// The first setting that cannot be used: its key and why, without the secret.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        if let Some(tls) = &self.tls_server_config {
            if tls.min_version > tls.max_version {
                return Some((
                    "tls_server_config.min_version",
                    "is above max_version".into(),
                ));
            }
            let checks = tls.client_auth_type != ClientCertificates::NoClientCert;
            if checks != tls.client_ca_file.is_some() {
                return Some((
                    "tls_server_config",
                    "client_ca_file and a client_auth_type other than NoClientCert need each other"
                        .into(),
                ));
            }
        }
        for (user, hash) in &self.basic_auth_users {
            if user.is_empty() || user.contains(':') {
                return Some((
                    "basic_auth_users",
                    format!("{user:?} is not a user name: it is empty or has a colon"),
                ));
            }
            if hash.parse::<bcrypt::HashParts>().is_err() {
                return Some((
                    "basic_auth_users",
                    format!(
                        "the password of {user:?} is not a bcrypt hash; make one with: htpasswd -nBC 10 {user}"
                    ),
                ));
            }
        }
        for (name, hash) in &self.bearer_tokens {
            if token_digest(hash).is_none() {
                return Some((
                    "bearer_tokens",
                    format!(
                        "the token {name:?} is not written as sha256: and 64 hex digits; make it with: \
                         printf %s \"$TOKEN\" | sha256sum"
                    ),
                ));
            }
        }
        None
    }
}

/// The digest that `sha256:` and 64 hex digits stand for.
pub(crate) fn token_digest(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("sha256:")?.as_bytes();
    let mut digest = [0; 32];
    if digits.len() != 2 * digest.len() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(digest)
}
