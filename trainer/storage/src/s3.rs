//! What is particular to S3: how its client is built, and what a refusal means. The general store knows neither a bucket that is
//! not there from an object that is not, nor what a person can do about either.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use futures::StreamExt;
use object_store::{
    ClientOptions, Error, ObjectStore, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey as Key},
};
use snafu::Snafu;

const STORE: &str = "S3";
const NO_SUCH_BUCKET: &str = "NoSuchBucket";
/// What the general store says before an HTTP status.
const STATUS: &str = "status code: ";
/// In the addresses where a machine of Amazon's has its credentials.
const METADATA: [&str; 2] = ["/latest/api/token", "/latest/meta-data/iam"];
/// Any of these means that credentials need not come from the machine.
const CREDENTIALS: [Key; 5] = [
    Key::AccessKeyId,
    Key::WebIdentityTokenFile,
    Key::ContainerCredentialsRelativeUri,
    Key::ContainerCredentialsFullUri,
    Key::SkipSignature,
];

/// One bucket. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct S3 {
    store: Arc<AmazonS3>,
    bucket: Arc<str>,
    /// Whether it has ever answered for an object.
    is_known: Arc<AtomicBool>,
    has_credentials: bool,
}

/// A refusal that only a person can do something about; `told` is what the server said.
#[derive(Debug, Snafu)]
pub(crate) enum Refused {
    #[snafu(display(
        "there is no bucket {bucket:?}: create it, or correct the URI, AWS_ENDPOINT or AWS_REGION ({told})"
    ))]
    NoBucket { bucket: Arc<str>, told: String },
    #[snafu(display(
        "the bucket {bucket:?} refuses access: correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or let their owner read and write there ({told})"
    ))]
    Access { bucket: Arc<str>, told: String },
    #[snafu(display(
        "there are no credentials for the bucket {bucket:?}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY ({told})"
    ))]
    NoCredentials { bucket: Arc<str>, told: String },
    #[snafu(display(
        "the bucket {bucket:?} is not where it is asked for: correct AWS_REGION or AWS_ENDPOINT ({told})"
    ))]
    Elsewhere { bucket: Arc<str>, told: String },
    #[snafu(display("the bucket {bucket:?} refuses the request ({told})"))]
    Request { bucket: Arc<str>, told: String },
}

impl S3 {
    pub(crate) fn open(bucket: &str, settings: &[(Key, String)]) -> Result<Self, Error> {
        // The first one wins; ring's is what the rest of the program brings.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let has_credentials = settings.iter().any(|(key, _)| CREDENTIALS.contains(key));
        // Attempts and their deadlines are ours, which grow with the bytes.
        let builder = AmazonS3Builder::new()
            .with_client_options(ClientOptions::new().with_timeout_disabled())
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() });
        let builder = settings.iter().fold(builder, |builder, (key, value)| builder.with_config(*key, value));
        let store = builder.with_bucket_name(bucket).build()?;
        Ok(Self { store: Arc::new(store), bucket: bucket.into(), is_known: Arc::default(), has_credentials })
    }

    pub(crate) fn general(&self) -> Arc<dyn ObjectStore> {
        Arc::<AmazonS3>::clone(&self.store)
    }

    /// An attempt's result, its error told by what it means.
    pub(crate) async fn explain<T>(&self, attempt: Result<T, Error>) -> Result<T, Error> {
        let error = match attempt {
            Ok(value) => {
                self.is_known.store(true, Relaxed);
                return Ok(value);
            }
            Err(error) => error,
        };
        let bucket = Arc::clone(&self.bucket);
        let words = words(&error);
        let told = told(&words);
        let refused = match (&error, status(&words)) {
            _ if words.contains(NO_SUCH_BUCKET) => Refused::NoBucket { bucket, told },
            _ if !self.has_credentials && METADATA.iter().any(|part| words.contains(part)) => {
                Refused::NoCredentials { bucket, told }
            }
            (Error::NotFound { .. }, _) if self.is_missing(&words).await => {
                Refused::NoBucket { bucket, told: NO_SUCH_BUCKET.into() }
            }
            // Somebody writes the same object in this moment.
            (_, Some(409)) => return Err(Error::Generic { store: STORE, source: words.into() }),
            (Error::NotFound { .. } | Error::AlreadyExists { .. }, _) => return Err(error),
            (_, Some(401 | 403)) => Refused::Access { bucket, told },
            (_, Some(301 | 307)) => Refused::Elsewhere { bucket, told },
            (_, Some(400)) if words.contains("AuthorizationHeaderMalformed") => {
                Refused::Elsewhere { bucket, told }
            }
            (_, None) if words.contains("redirect without LOCATION") => Refused::Elsewhere { bucket, told },
            (_, Some(408 | 425 | 429)) => return Err(error),
            (_, Some(400..500)) => Refused::Request { bucket, told },
            _ => return Err(error),
        };
        Err(Error::Generic { store: STORE, source: Box::new(refused) })
    }

    /// Of an object that was not found: whether its bucket is not there either. Asking about one object gives no words, so
    /// that the bucket has to be asked for once.
    async fn is_missing(&self, words: &str) -> bool {
        if self.is_known.load(Relaxed) || words.contains("NoSuchKey") {
            return false;
        }
        match self.store.list(None).next().await {
            Some(Err(error)) => self::words(&error).contains(NO_SUCH_BUCKET),
            Some(Ok(_)) | None => {
                self.is_known.store(true, Relaxed);
                false
            }
        }
    }
}

/// All that an error and its causes say.
fn words(error: &Error) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}

/// The HTTP status that the server answered with. The general store keeps it in a type that nobody else can name.
fn status(words: &str) -> Option<u16> {
    let (_, rest) = words.split_once(STATUS)?;
    rest.get(..3)?.parse().ok()
}

/// The part of it that the server said: its status and the code in its answer, else the last words.
fn told(words: &str) -> String {
    let Some((_, said)) = words.split_once(STATUS) else {
        return words.rsplit(": ").next().unwrap_or(words).to_owned();
    };
    let status = said.split([':', '\n']).next().unwrap_or_default().trim();
    let code = said.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map_or_else(|| status.to_owned(), |(code, _)| format!("{status}, {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::{self, Cause};

    fn s3(settings: &[(Key, String)]) -> S3 {
        S3::open("bucket", settings).unwrap()
    }

    fn answer(status: &str, body: &str) -> Error {
        let words = format!(
            "Error performing GET http://host/bucket/x in 1ms - Server returned non-2xx status code: {status}: {body}"
        );
        match &status[..3] {
            "403" => Error::PermissionDenied { path: "x".into(), source: words.into() },
            "409" => Error::AlreadyExists { path: "x".into(), source: words.into() },
            _ => Error::Generic { store: STORE, source: words.into() },
        }
    }

    #[tokio::test]
    async fn what_a_person_must_mend_is_permanent_and_says_what() {
        let s3 = s3(&[(Key::AccessKeyId, "key".into()), (Key::SecretAccessKey, "secret".into())]);
        for (error, cause, remedy) in [
            (answer("403 Forbidden", "<Code>InvalidAccessKeyId</Code>"), Cause::Denied, "AWS_ACCESS_KEY_ID"),
            (
                answer("400 Bad Request", "<Code>AuthorizationHeaderMalformed</Code>"),
                Cause::Denied,
                "AWS_REGION",
            ),
            (
                answer("404 Not Found", "<Code>NoSuchBucket</Code>"),
                Cause::Denied,
                "create it, or correct the URI, AWS_ENDPOINT or AWS_REGION (404 Not Found, NoSuchBucket)",
            ),
            (answer("405 Method Not Allowed", ""), Cause::Denied, "refuses the request"),
            (answer("409 Conflict", "<Code>ConditionalRequestConflict</Code>"), Cause::Transient, "409"),
            (answer("429 Too Many Requests", ""), Cause::Transient, "429"),
            (answer("503 Slow Down", ""), Cause::Transient, "503"),
        ] {
            let told = s3.explain::<()>(Err(error)).await.unwrap_err();
            assert_eq!(cause::of(&told), cause, "{told}");
            assert!(told.to_string().contains(remedy), "{told}");
        }
    }

    /// Nothing listens where the machine's own credentials should be.
    #[tokio::test]
    async fn missing_credentials_are_permanent_and_say_which_variables_to_set() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let s3 = s3(&[(Key::MetadataEndpoint, format!("http://{closed}"))]);
        let attempt = object_store::ObjectStoreExt::head(&*s3.general(), &"x".into()).await;
        let told = s3.explain(attempt).await.unwrap_err();
        assert_eq!(cause::of(&told), Cause::Denied);
        assert!(told.to_string().contains("AWS_ACCESS_KEY_ID"), "{told}");
    }
}
