//! Questions to real servers on loopback.

use super::*;
use crate::identity;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::collections::BTreeMap;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

type Identity = BTreeMap<String, ByteString>;

fn client(identity: &Identity) -> Arc<ClientConfig> {
    identity::client(&Secret { data: Some(identity.clone()), ..Secret::default() }).unwrap()
}

/// The executor's side: accepts only clients with a certificate of the same authority.
fn acceptor(identity: &Identity) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&identity["ca.crt"].0).unwrap()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(&identity["tls.crt"].0).unwrap()],
            PrivateKeyDer::from_pem_slice(&identity["tls.key"].0).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// An executor that answers every question with `answer`, or never when it is None.
async fn executor(identity: &Identity, answer: Option<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = acceptor(identity);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut buffer = [0; 4096];
            if stream.read(&mut buffer).await.is_err() {
                continue;
            }
            match &answer {
                // A client that goes away early is its own affair.
                Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                None => std::future::pending().await,
            }
        }
    });
    address
}

fn response(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

const DEADLINE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn reports_of_all_executors_that_answer_are_collected() {
    let identity = identity::make().unwrap();
    let one =
        executor(&identity, Some(response(r#"{"index":0,"step":7,"joined":true,"phase":"Training"}"#))).await;
    let two = executor(&identity, Some(response(r#"{"index":1,"step":7}"#))).await;
    let silent = executor(&identity, None).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let broken = executor(&identity, Some(response("{\"index\":"))).await;
    let refusing = executor(&identity, Some("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n".into())).await;
    let endless = executor(&identity, Some(response(&format!("\"{}\"", "x".repeat(REPORT_LIMIT))))).await;
    let metrics = Metrics::default();
    let executors = vec![one, two, silent, gone, broken, refusing, endless];
    let mut reports = ask_all(executors, client(&identity), Duration::from_secs(1), &metrics).await;
    reports.sort_by_key(|report| report.index);
    let steps: Vec<_> = reports.iter().map(|report| (report.index, report.step)).collect();
    assert_eq!(steps, [(0, 7), (1, 7)]);
    let text = metrics.render();
    assert!(text.contains("lockstep_operator_reports_total{outcome=\"answered\"} 2"), "{text}");
    assert!(text.contains("lockstep_operator_reports_total{outcome=\"missing\"} 5"), "{text}");
}

/// Another job's pod may have got the address: it must neither be believed nor be told anything.
#[tokio::test]
async fn an_executor_of_another_job_is_not_believed() {
    let (mine, other) = (identity::make().unwrap(), identity::make().unwrap());
    let address = executor(&other, Some(response(r#"{"index":0}"#))).await;
    let connector = TlsConnector::from(client(&mine));
    let error = tokio::time::timeout(DEADLINE, ask(address, &connector)).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
}
