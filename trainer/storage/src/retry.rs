//! One call, several attempts: each under a deadline, with growing pauses between them.

use std::{future::Future, time::Duration};

use backon::{ExponentialBuilder, Retryable};
use object_store::Error;
use tokio::time::Instant;

use crate::{
    Patience,
    cause::{self, Cause},
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A store that is slower than this a second is not worth waiting for.
const SLOWEST: u64 = 1 << 20;

/// Runs `attempt` until it succeeds, fails for a reason that time does not heal, or patience ends; `bytes`: what one
/// attempt carries. `had_no_answer` is told of each attempt that was given up, by when it began.
pub(crate) async fn call<T, F>(
    patience: Patience,
    bytes: u64,
    mut attempt: impl FnMut() -> F,
    had_no_answer: impl Fn(Instant),
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let deadline = patience.attempt + Duration::from_secs(bytes / SLOWEST);
    let begin = Instant::now();
    let limited = || {
        let (began, attempt) = (Instant::now(), attempt());
        let had_no_answer = &had_no_answer;
        async move {
            match tokio::time::timeout(deadline, attempt).await {
                Ok(result) => result,
                Err(_) => {
                    had_no_answer(began);
                    Err(timed_out(deadline))
                }
            }
        }
    };
    let pauses = ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .with_jitter();
    limited
        .retry(pauses)
        .when(|error| cause::of(error) == Cause::Transient && begin.elapsed() < patience.total)
        .notify(|error, pause| tracing::debug!(%error, ?pause, "storage failed; trying again"))
        .await
}

fn timed_out(deadline: Duration) -> Error {
    let words = format!("no answer within {} s", deadline.as_secs());
    Error::Generic {
        store: "remote",
        source: std::io::Error::new(std::io::ErrorKind::TimedOut, words).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    const PATIENCE: Patience = Patience { attempt: Duration::from_secs(30), total: Duration::from_secs(60) };

    fn failed(kind: std::io::ErrorKind) -> Error {
        Error::Generic { store: "test", source: Box::new(std::io::Error::from(kind)) }
    }

    #[tokio::test(start_paused = true)]
    async fn what_heals_is_tried_again_and_what_does_not_is_reported_at_once() {
        let attempts = Cell::new(0);
        let result = call(
            PATIENCE,
            0,
            async || {
                attempts.set(attempts.get() + 1);
                if attempts.get() < 4 { Err(failed(std::io::ErrorKind::ConnectionReset)) } else { Ok(7) }
            },
            |_| {},
        );
        assert_eq!(result.await.unwrap(), 7);
        assert_eq!(attempts.get(), 4);

        for kind in [std::io::ErrorKind::StorageFull, std::io::ErrorKind::PermissionDenied] {
            attempts.set(0);
            let result: Result<(), _> = call(
                PATIENCE,
                0,
                async || {
                    attempts.set(attempts.get() + 1);
                    Err(failed(kind))
                },
                |_| {},
            )
            .await;
            assert!(result.is_err());
            assert_eq!(attempts.get(), 1, "{kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_hangs_is_given_up_and_so_is_the_call_in_the_end() {
        let begin = Instant::now();
        let given_up = RefCell::new(Vec::new());
        let note = |began| given_up.borrow_mut().push(began);
        let result: Result<(), _> = call(PATIENCE, 10 << 20, std::future::pending, note).await;
        assert!(result.unwrap_err().to_string().contains("no answer within 40 s"));
        let given_up = given_up.into_inner();
        assert!(given_up.len() == 2 && given_up[0] == begin && given_up[1] > begin, "{given_up:?}");
        let took = begin.elapsed();
        assert!(took >= PATIENCE.total && took < PATIENCE.total * 3, "{took:?}");
    }
}
