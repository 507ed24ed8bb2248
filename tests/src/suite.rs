//! Running a test program: like libtest, but a test may be skipped with a reason, and servers are taken down at the end.

use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial, run};

/// One named test.
pub type Test<C> = (&'static str, fn(&C) -> Result<()>);

/// Runs `tests` one after the other on what `start` gives. Where `lacks` gives a reason they are skipped with it, which
/// is a failure where `CI` is `true`.
pub fn main<C: Send + Sync + 'static>(
    lacks: impl FnOnce() -> Option<String>,
    start: impl FnOnce() -> Result<C>,
    tests: Vec<Test<C>>,
) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let wanted = tests.iter().any(|(name, _)| is_wanted(&arguments, name));
    if arguments.list || !wanted {
        let trials = tests.into_iter().map(|(name, _)| Trial::test(name, || Ok(()))).collect();
        return run(&arguments, trials).exit_code();
    }
    if let Some(reason) = lacks() {
        return skip(&tests, &reason);
    }
    let context = match start() {
        // The tests are given a reference that lives to the end of the program; what it refers to is dropped below.
        Ok(context) => std::sync::Arc::new(context),
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let trials = tests
        .into_iter()
        .map(|(name, test)| {
            let context = context.clone();
            Trial::test(name, move || test(&context).map_err(|error| Failed::from(format!("{error:#}"))))
        })
        .collect();
    run(&arguments, trials).exit_code()
}

fn is_wanted(arguments: &Arguments, name: &str) -> bool {
    let matches = |pattern: &str| if arguments.exact { name == pattern } else { name.contains(pattern) };
    !arguments.skip.iter().any(|pattern| matches(pattern)) && arguments.filter.as_deref().is_none_or(matches)
}

fn skip<C>(tests: &[Test<C>], reason: &str) -> ExitCode {
    for (name, _) in tests {
        eprintln!("SKIPPED {name}: {reason}");
    }
    if std::env::var("CI").is_ok_and(|value| value == "true") {
        eprintln!("error: nothing may be skipped where CI=true");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
