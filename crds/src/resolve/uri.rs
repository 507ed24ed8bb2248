//! Rules for URIs: a known scheme, no credentials, an absolute path without surprises.

use super::Report;
use crate::schema::URI_MAX;

/// Checks one URI.
pub(crate) fn check(field: &str, uri: &str, report: &mut Report) {
    if uri.is_empty() || uri.len() > URI_MAX as usize {
        report.add(field, format!("must have 1 to {URI_MAX} characters"));
        return;
    }
    let Some((scheme, rest)) = uri.split_once("://") else {
        report.add(field, "is not a URI; use file:///absolute/path");
        return;
    };
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        report.add(field, "holds a user name or password; use storage for credentials");
    }
    match scheme {
        "file" => check_path(field, rest, report),
        "hdfs" | "s3" => {
            let path = rest.strip_prefix(authority).unwrap_or_default();
            if path.len() < 2 {
                report.add(
                    field,
                    format!(
                        "names no folder; use {scheme}://{}/path",
                        if scheme == "s3" { "bucket" } else { "namenode:8020" }
                    ),
                );
            } else if scheme == "s3" && authority.is_empty() {
                report.add(field, "names no bucket; use s3://bucket/path");
            } else {
                check_path(field, path, report);
            }
        }
        _ => report.add(field, format!("has the unknown scheme {scheme:?}; use file://, hdfs:// or s3://")),
    }
}

/// Whether the URI is one of HDFS.
pub(crate) fn is_hdfs(uri: &str) -> bool {
    uri.starts_with("hdfs://")
}

/// Whether the URI is one of S3.
pub(crate) fn is_s3(uri: &str) -> bool {
    uri.starts_with("s3://")
}

fn check_path(field: &str, path: &str, report: &mut Report) {
    if !path.starts_with('/') {
        report.add(field, "names a host; use file:///absolute/path with three slashes");
    } else if path.split('/').any(|part| part == ".." || part == ".") {
        report.add(field, "must not contain . or .. as a folder; write the path out");
    } else if path.contains(['?', '#', '%', '\\']) || path.chars().any(char::is_control) {
        report.add(field, "must not contain ?, #, %, \\ or control characters; rename the folder");
    }
}
