//! TLS from a web-config file: 1.2 or newer, optional client certificates.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion, crypto, version,
};

use crate::config::{ClientCertificates, ConfigError, TlsSettings, TlsVersion};

/// An acceptor for these settings.
///
/// # Errors
/// When a file cannot be read, holds no certificate or key, or the two do not belong together.
pub fn acceptor(settings: &TlsSettings) -> Result<TlsAcceptor, ConfigError> {
    let chain = certificates(&settings.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&settings.key_file)
        .map_err(|e| refused(&settings.key_file, format!("no private key: {e}")))?;
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions(settings));
    let builder = builder.map_err(|e| refused(&settings.cert_file, e.to_string()))?;
    let builder = match &settings.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots
                    .add(certificate)
                    .map_err(|e| refused(file, e.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match settings.client_auth_type {
                ClientCertificates::RequireAndVerifyClientCert => verifier,
                ClientCertificates::NoClientCert | ClientCertificates::VerifyClientCertIfGiven => {
                    verifier.allow_unauthenticated()
                }
            };
            builder.with_client_cert_verifier(
                verifier.build().map_err(|e| refused(file, e.to_string()))?,
            )
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|e| refused(&settings.cert_file, e.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn refused(file: &Path, problem: String) -> ConfigError {
    ConfigError {
        file: file.to_owned(),
        at: None,
        problem,
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match found {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(refused(
            file,
            "no certificate: a PEM file with at least one is expected".to_owned(),
        )),
        Err(error) => Err(refused(file, format!("no certificate: {error}"))),
    }
}

fn versions(settings: &TlsSettings) -> &'static [&'static SupportedProtocolVersion] {
    static ONLY_12: [&SupportedProtocolVersion; 1] = [&version::TLS12];
    static ONLY_13: [&SupportedProtocolVersion; 1] = [&version::TLS13];
    static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    match (settings.min_version, settings.max_version) {
        (TlsVersion::Tls12, TlsVersion::Tls12) => &ONLY_12,
        (TlsVersion::Tls12, TlsVersion::Tls13) => &BOTH,
        (TlsVersion::Tls13, _) => &ONLY_13,
    }
}
