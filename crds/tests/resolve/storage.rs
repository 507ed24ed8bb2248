//! URIs, and how `spec.storage` reaches them.

use lockstep_crds::resolve;
use serde_json::json;

use crate::{accepted, refused, with};

#[test]
fn uris_have_a_known_scheme_and_no_credentials() {
    for (uri, word) in [
        ("/data/train", "not a URI"),
        ("ftp://host/x", "unknown scheme"),
        ("file://host/x", "three slashes"),
        ("file:///a/../b", ".."),
        ("file:///a?b", "must not contain"),
        ("file:///a%20b", "must not contain"),
        ("hdfs://namenode:8020", "names no folder; use hdfs://namenode:8020/path"),
        ("hdfs://namenode/a/../b", ".."),
        ("s3://bucket/", "names no folder; use s3://bucket/path"),
        ("s3:///x", "names no bucket"),
        ("", "1 to 2048"),
    ] {
        refused(json!({"data": {"training": {"uri": uri}}}), "data.training.uri", word);
        refused(json!({"data": {"test": {"uri": uri}}}), "data.test.uri", word);
        refused(json!({"checkpoint": {"uri": uri}}), "checkpoint.uri", word);
        refused(json!({"tracking": {"tensorBoard": {"uri": uri}}}), "tracking.tensorBoard.uri", word);
    }
    let violations = resolve(&with(&json!({"checkpoint": {"uri": "hdfs://me:secret@host/x"}}))).unwrap_err();
    assert!(
        violations.iter().any(|violation| violation.message.contains("user name or password")),
        "{violations:?}"
    );
    assert!(
        violations.iter().all(|violation| !violation.message.contains("secret@")),
        "the password is not repeated"
    );
}

#[test]
fn hdfs_and_s3_are_reached_as_storage_says() {
    let hdfs = json!({"checkpoint": {"uri": "hdfs://namenode:8020/checkpoints"}});
    assert_eq!(accepted(hdfs.clone()).storage.user, None);
    let mut with_user = hdfs.clone();
    with_user["storage"] = json!({"user": "ada", "hadoopConfigMapRef": {"name": "hadoop"}});
    assert_eq!(accepted(with_user).storage.user.as_deref(), Some("ada"));
    accepted(
        json!({"data": {"training": {"uri": "s3://bucket/x"}}, "storage": {"s3SecretRef": {"name": "s"}}}),
    );
    accepted(json!({"data": {"test": {"uri": "hdfs:///x"}}}));
    let mut tracked = json!({"tracking": {"tensorBoard": {"uri": "hdfs://namenode:8020/runs"}}});
    tracked["storage"] = json!({"user": "ada"});
    let uri = accepted(tracked).tracking.tensor_board_uri;
    assert_eq!(uri.as_deref(), Some("hdfs://namenode:8020/runs"));

    let mut kerberos = hdfs;
    kerberos["storage"] = json!({"kerberosSecretRef": {"name": "k"}});
    refused(kerberos, "storage.kerberosSecretRef", "hadoopConfigMapRef");
}

#[test]
fn storage_that_no_uri_uses_is_refused() {
    for (storage, field) in [
        (json!({"hadoopConfigMapRef": {"name": "h"}}), "storage.hadoopConfigMapRef"),
        (json!({"user": "u"}), "storage.user"),
        (json!({"s3SecretRef": {"name": "s"}}), "storage.s3SecretRef"),
    ] {
        refused(json!({"storage": storage}), field, "no URI of the job begins with");
    }
}
