//! From what a user writes to a place in a store.

use std::path::{Component, Path, PathBuf};

use crate::{Error, Result, error::OpenStoreSnafu};

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// An absolute path without a trailing slash.
    File(PathBuf),
    /// `authority` is `host`, `host:port`, a name service, or empty for Hadoop's `fs.defaultFS`.
    Hdfs { authority: String, path: String },
    /// The path has no leading slash.
    S3 { bucket: String, path: String },
}

impl Location {
    /// Of `file:///path`, `/path`, `hdfs://authority/path` or `s3://bucket/path`.
    pub(crate) fn parse(uri: &str) -> Result<Self> {
        let refuse = |reason: &str| -> Result<Self> { OpenStoreSnafu { uri, reason }.fail() };
        let Some((scheme, rest)) = uri.split_once("://") else {
            return file(uri, uri);
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return refuse("it holds a user name or password; credentials come from the environment");
        }
        if path.split('/').any(|part| part == ".." || part == ".") {
            return refuse("the path must not contain . or ..");
        }
        let path = path.trim_matches('/').to_owned();
        match scheme {
            "file" if authority.is_empty() => file(uri, rest),
            "file" => refuse("a file URI has no host: write file:///path"),
            "hdfs" => Ok(Self::Hdfs { authority: authority.to_owned(), path }),
            "s3" if authority.is_empty() => refuse("it names no bucket: write s3://bucket/path"),
            "s3" => Ok(Self::S3 { bucket: authority.to_owned(), path }),
            _ => refuse("unknown scheme; use file://, hdfs:// or s3://"),
        }
    }
}

fn file(uri: &str, path: &str) -> Result<Location> {
    let refuse = |reason: &str| Err(Error::OpenStore { uri: uri.to_owned(), reason: reason.to_owned() });
    if !path.starts_with('/') {
        return refuse("the path must be absolute");
    }
    if Path::new(path).components().any(|part| matches!(part, Component::ParentDir)) {
        return refuse("the path must not contain ..");
    }
    let trimmed = path.trim_end_matches('/');
    Ok(Location::File(PathBuf::from(if trimmed.is_empty() { "/" } else { trimmed })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_names_its_place() {
        let file = |path: &str| Location::File(PathBuf::from(path));
        let hdfs =
            |authority: &str, path: &str| Location::Hdfs { authority: authority.into(), path: path.into() };
        for (uri, location) in [
            ("file:///data/train/", file("/data/train")),
            ("/data/train", file("/data/train")),
            ("file:///", file("/")),
            ("hdfs://namenode:8020/data/train/", hdfs("namenode:8020", "data/train")),
            ("hdfs://cluster/data", hdfs("cluster", "data")),
            ("hdfs:///data", hdfs("", "data")),
            ("hdfs://namenode", hdfs("namenode", "")),
            ("s3://bucket/runs/x", Location::S3 { bucket: "bucket".into(), path: "runs/x".into() }),
        ] {
            assert_eq!(Location::parse(uri).unwrap(), location, "{uri}");
        }
    }

    #[test]
    fn what_cannot_be_opened_is_refused_with_the_remedy() {
        for (uri, remedy) in [
            ("hdfs://user:secret@namenode/x", "user name"),
            ("hdfs://namenode/a/../b", ".."),
            ("s3:///x", "bucket"),
            ("ftp://host/x", "unknown scheme"),
            ("file://host/x", "file:///path"),
            ("relative/path", "absolute"),
            ("/data/../etc", ".."),
        ] {
            let error = Location::parse(uri).unwrap_err();
            assert!(error.to_string().contains(remedy), "{uri}: {error}");
            assert!(!error.is_retryable());
        }
    }
}
