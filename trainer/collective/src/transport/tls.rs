//! Mutual TLS: both ends show the job's certificate and check the other's against the job's authority.

use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use snafu::{ResultExt, Snafu, ensure};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::SERVER_NAME;

/// The job's certificate, in PEM. Both ends of every connection are checked against `ca`.
#[derive(Clone)]
pub struct Certificates {
    /// Certificates to trust.
    pub ca: Vec<u8>,
    /// This executor's certificate chain, for DNS name `lockstep-executor`, for servers and clients.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

/// Leaves the key out.
impl std::fmt::Debug for Certificates {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Certificates").finish_non_exhaustive()
    }
}

/// Why certificates cannot be used.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum TlsError {
    /// Not PEM.
    #[snafu(display("failed to read the {what}"))]
    Read {
        /// Which of the three.
        what: &'static str,
        /// Where and why.
        source: pem::Error,
    },
    /// PEM without what should be there.
    #[snafu(display("failed to find a certificate in the {what}"))]
    Missing {
        /// Which of the three.
        what: &'static str,
    },
    /// The authority's certificate.
    #[snafu(display("failed to trust the certificate authority"))]
    Trust {
        /// Why.
        source: rustls::Error,
    },
    /// The verifier of clients.
    #[snafu(display("failed to check clients by the certificate authority"))]
    Verifier {
        /// Why.
        source: VerifierBuilderError,
    },
    /// Certificate and key.
    #[snafu(display("failed to use the executor's certificate and key"))]
    Identity {
        /// Why.
        source: rustls::Error,
    },
    /// The constant above.
    #[snafu(display("failed to use {SERVER_NAME} as a server name"))]
    Name {
        /// Why.
        source: InvalidDnsNameError,
    },
}

impl TlsError {
    /// Whether trying again can help: never without other certificates.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Read { .. }
            | Self::Missing { .. }
            | Self::Trust { .. }
            | Self::Verifier { .. }
            | Self::Identity { .. }
            | Self::Name { .. } => false,
        }
    }
}

/// Both roles of this executor.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) connector: TlsConnector,
    pub(crate) name: ServerName<'static>,
}

impl Certificates {
    /// Accepts connections of holders of the job's certificate: for other servers of an executor.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        self.identity().map(|identity| identity.acceptor)
    }

    pub(crate) fn identity(&self) -> Result<Identity, TlsError> {
        let read = |bytes: &[u8], what| -> Result<Vec<CertificateDer<'static>>, TlsError> {
            let chain: Vec<_> = CertificateDer::pem_slice_iter(bytes)
                .collect::<Result<_, _>>()
                .context(ReadSnafu { what })?;
            ensure!(!chain.is_empty(), MissingSnafu { what });
            Ok(chain)
        };
        let mut roots = RootCertStore::empty();
        for certificate in read(&self.ca, "certificate authority")? {
            roots.add(certificate).context(TrustSnafu)?;
        }
        let roots = Arc::new(roots);
        let chain = read(&self.certificate, "executor's certificate")?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).context(ReadSnafu { what: "executor's key" })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .context(VerifierSnafu)?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .context(IdentitySnafu)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .context(IdentitySnafu)?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context(IdentitySnafu)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .context(IdentitySnafu)?;
        Ok(Identity {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
            name: ServerName::try_from(SERVER_NAME).context(NameSnafu)?,
        })
    }
}
