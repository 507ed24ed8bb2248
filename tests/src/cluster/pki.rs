//! The cluster's certificates, keys and kubeconfigs, fresh for every cluster.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use serde_json::json;

use super::node::{ADDRESS, HOST};

/// (file name, common name, organization, subject alternative names)
type Identity = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// `system:masters` may do everything; the other names are those that Kubernetes' own RBAC rules are written for.
const IDENTITIES: &[Identity] = &[
    (
        "apiserver",
        "kube-apiserver",
        "",
        &[
            "127.0.0.1",
            ADDRESS,
            "10.96.0.1",
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        ],
    ),
    ("apiserver-kubelet", "apiserver-kubelet", "system:masters", &[]),
    ("kubelet", "system:node:lockstep-node", "system:nodes", &[ADDRESS, HOST]),
    ("admin", "admin", "system:masters", &[]),
    ("controllers", "system:kube-controller-manager", "", &[]),
    ("scheduler", "system:kube-scheduler", "", &[]),
    ("proxy", "system:kube-proxy", "", &[]),
    ("coredns", "coredns", "", &[]),
];

/// Fills `folder` with `ca.crt`, `NAME.{crt,key,kubeconfig}` of every identity and the key of service accounts.
pub(super) fn create(folder: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .context("failed to create the folder of certificates")?;

    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name = name("lockstep-tests", "");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let ca_certificate = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);
    write(&folder.join("ca.crt"), &ca_certificate)?;

    for (file, common_name, organization, alternatives) in IDENTITIES {
        let key = KeyPair::generate()?;
        let mut parameters =
            CertificateParams::new(alternatives.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
        parameters.distinguished_name = name(common_name, organization);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = parameters.signed_by(&key, &issuer)?.pem();
        write(&folder.join(format!("{file}.crt")), &certificate)?;
        write(&folder.join(format!("{file}.key")), &key.serialize_pem())?;
        write(&folder.join(format!("{file}.kubeconfig")), &kubeconfig(file))?;
    }

    let accounts = KeyPair::generate()?;
    write(&folder.join("service-accounts.key"), &accounts.serialize_pem())?;
    write(&folder.join("service-accounts.pub"), &accounts.public_key_pem())
}

fn name(common_name: &str, organization: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    if !organization.is_empty() {
        name.push(DnType::OrganizationName, organization);
    }
    name
}

/// Names its files relative to itself: the folder has another path inside the cluster's mounts.
fn kubeconfig(file: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "tests", "cluster": {"server": "https://127.0.0.1:6443", "certificate-authority": "ca.crt"}},
        ],
        "users": [
            {"name": file, "user": {"client-certificate": format!("{file}.crt"), "client-key": format!("{file}.key")}},
        ],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": file}}],
        "current-context": "tests",
    })
    .to_string()
}

fn write(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("failed to create {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("failed to write {}", path.display()))
}
