//! A job's TLS identity: one authority and one certificate, made once, by which executors and operator know each other.
//!
//! The authority signs a single certificate and its key is dropped at once: there is nothing to rotate, nothing to issue and
//! nothing to steal but the job's own Secret, and everything ends with the job.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use snafu::{OptionExt, ResultExt, Snafu};
use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use lockstep_crds::executor::{TLS_CA, TLS_CERT, TLS_KEY, TLS_SERVER_NAME};

/// Why an identity could not be made or read.
#[derive(Debug, Snafu)]
pub(crate) enum Error {
    #[snafu(display("failed to make {what} for the job's TLS identity"))]
    Make { what: &'static str, source: rcgen::Error },
    #[snafu(display("failed to find {key} in the job's Secret"))]
    Missing { key: &'static str },
    #[snafu(display("failed to read {key} of the job's Secret as PEM"))]
    Pem { key: &'static str, source: rustls::pki_types::pem::Error },
    #[snafu(display("failed to set up TLS with the job's Secret"))]
    Tls { source: rustls::Error },
}

/// Makes a new identity: `ca.crt`, `tls.crt` and `tls.key` as PEM.
///
/// # Errors
/// When the system's random numbers fail.
pub(crate) fn make() -> Result<BTreeMap<String, ByteString>, Error> {
    let authority_key = KeyPair::generate().context(MakeSnafu { what: "the authority's key" })?;
    let mut authority = parameters("lockstep job authority", &[])?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root =
        authority.self_signed(&authority_key).context(MakeSnafu { what: "the authority's certificate" })?;

    let key = KeyPair::generate().context(MakeSnafu { what: "the key" })?;
    let mut leaf = parameters(TLS_SERVER_NAME, &[TLS_SERVER_NAME.to_owned()])?;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let issuer = Issuer::from_params(&authority, &authority_key);
    let certificate = leaf.signed_by(&key, &issuer).context(MakeSnafu { what: "the certificate" })?;
    Ok([(TLS_CA, root.pem()), (TLS_CERT, certificate.pem()), (TLS_KEY, key.serialize_pem())]
        .into_iter()
        .map(|(name, pem)| (name.to_owned(), ByteString(pem.into_bytes())))
        .collect())
}

fn parameters(name: &str, alternatives: &[String]) -> Result<CertificateParams, Error> {
    let mut parameters = CertificateParams::new(alternatives).context(MakeSnafu { what: "the name" })?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    // The identity lives as long as its job. Clocks of nodes differ, so it does not begin now.
    parameters.not_before = date_time_ymd(2020, 1, 1);
    parameters.not_after = date_time_ymd(2099, 12, 31);
    Ok(parameters)
}

/// The client's side of mutual TLS with the identity in `secret`.
///
/// # Errors
/// When the Secret does not hold an identity.
pub(crate) fn client(secret: &Secret) -> Result<Arc<ClientConfig>, Error> {
    let bytes = |key: &'static str| {
        let value = secret.data.as_ref().and_then(|data| data.get(key));
        value.map(|value| value.0.as_slice()).context(MissingSnafu { key })
    };
    let certificates = |key: &'static str| -> Result<Vec<CertificateDer<'static>>, Error> {
        CertificateDer::pem_slice_iter(bytes(key)?).collect::<Result<_, _>>().context(PemSnafu { key })
    };
    let mut roots = RootCertStore::empty();
    for root in certificates(TLS_CA)? {
        roots.add(root).context(TlsSnafu)?;
    }
    let key = PrivateKeyDer::from_pem_slice(bytes(TLS_KEY)?).context(PemSnafu { key: TLS_KEY })?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context(TlsSnafu)?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(TLS_CERT)?, key)
        .context(TlsSnafu)?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_has_what_executors_mount() {
        let identity = make().unwrap();
        assert_eq!(identity.keys().collect::<Vec<_>>(), [TLS_CA, TLS_CERT, TLS_KEY]);
        client(&Secret { data: Some(identity), ..Secret::default() }).unwrap();
    }

    #[test]
    fn a_secret_without_a_key_is_named() {
        let mut identity = make().unwrap();
        identity.remove(TLS_KEY);
        let error = client(&Secret { data: Some(identity), ..Secret::default() }).unwrap_err();
        assert!(error.to_string().contains("tls.key"), "{error}");
    }
}
