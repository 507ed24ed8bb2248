//! From what a user writes to a place in the file system.

use std::path::{Path, PathBuf};

use crate::{Error, Result, error::OpenStoreSnafu};

/// `file:///path` or `/path` as a path without a trailing slash.
pub(crate) fn local_path(uri: &str) -> Result<PathBuf> {
    let refuse = |reason: &str| -> Result<PathBuf> { OpenStoreSnafu { uri, reason }.fail() };
    let path = match uri.split_once("://") {
        None => uri,
        Some(("file", rest)) if rest.starts_with('/') => rest,
        Some(("file", _)) => return refuse("a file URI has no host: write file:///path"),
        Some((scheme @ ("hdfs" | "s3"), _)) => {
            return Err(Error::OpenStore {
                uri: uri.to_owned(),
                reason: format!("storage over {scheme}:// is not built yet; use file:///path"),
            });
        }
        Some(_) => return refuse("unknown scheme; use file:///path"),
    };
    if !path.starts_with('/') {
        return refuse("the path must be absolute");
    }
    if Path::new(path).components().any(|part| matches!(part, std::path::Component::ParentDir)) {
        return refuse("the path must not contain ..");
    }
    let trimmed = path.trim_end_matches('/');
    Ok(PathBuf::from(if trimmed.is_empty() { "/" } else { trimmed }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_uris_and_absolute_paths_name_the_same_folder() {
        assert_eq!(local_path("file:///data/train/").unwrap(), PathBuf::from("/data/train"));
        assert_eq!(local_path("/data/train").unwrap(), PathBuf::from("/data/train"));
        assert_eq!(local_path("file:///").unwrap(), PathBuf::from("/"));
    }

    #[test]
    fn what_cannot_be_opened_is_refused_with_the_remedy() {
        for (uri, remedy) in [
            ("hdfs://namenode:8020/x", "hdfs:// is not built yet"),
            ("s3://bucket/x", "s3:// is not built yet"),
            ("ftp://host/x", "unknown scheme"),
            ("file://host/x", "file:///path"),
            ("relative/path", "absolute"),
            ("/data/../etc", ".."),
        ] {
            let error = local_path(uri).unwrap_err();
            assert!(error.to_string().contains(remedy), "{uri}: {error}");
            assert!(!error.is_retryable());
        }
    }
}
