//! The threads that talk to remote stores. Connections outlive the runtimes of those who ask, so they have their own.

use std::{future::Future, sync::LazyLock};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("storage")
        .enable_all()
        .build()
        .expect("the system gives two threads")
});

pub(crate) fn handle() -> Handle {
    RUNTIME.handle().clone()
}

/// Runs `work` there; dropping the returned future ends it.
pub(crate) async fn run<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let mut task = AbortOnDrop(RUNTIME.spawn(work));
    match (&mut task.0).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only we abort it, and then nobody waits; or the program ends.
            Err(_) => std::future::pending().await,
        },
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
