//! Running a test program: like libtest, but a test may be skipped with a reason, and servers are taken down at the end.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial, run};

/// One test on what `C` gives.
pub struct Test<C> {
    /// The behaviour, as a sentence.
    pub name: &'static str,
    /// Why it cannot run here, if it cannot.
    pub lacks: Option<String>,
    /// The test.
    pub run: fn(&C) -> Result<()>,
}

/// Runs `tests` one after the other on what `start` gives, which is dropped at the end and not made for no test.
/// What lacks something is listed as skipped, with the reason; where `CI` is `true` that is a failure.
pub fn main<C: Send + Sync + 'static>(start: impl FnOnce() -> Result<C>, tests: Vec<Test<C>>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let may_skip = !std::env::var("CI").is_ok_and(|value| value == "true");
    let runs = |test: &Test<C>| test.lacks.is_none() && is_wanted(&arguments, test.name);
    let context = if !arguments.list && tests.iter().any(runs) {
        match start() {
            Ok(context) => Some(Arc::new(context)),
            Err(error) => {
                eprintln!("error: {error:#}");
                return ExitCode::FAILURE;
            }
        }
    } else {
        None
    };
    let trials =
        tests.into_iter().map(|test| trial(test, context.clone(), may_skip, arguments.list)).collect();
    run(&arguments, trials).exit_code()
}

fn trial<C: Send + Sync + 'static>(
    test: Test<C>,
    context: Option<Arc<C>>,
    may_skip: bool,
    list: bool,
) -> Trial {
    let Test { name, lacks, run } = test;
    match (lacks, context) {
        (Some(reason), _) if !list => {
            eprintln!("SKIPPED {name}: {reason}");
            Trial::test(name, move || Err(Failed::from(format!("skipped where CI=true: {reason}"))))
                .with_ignored_flag(may_skip)
        }
        (_, Some(context)) => Trial::test(name, move || {
            let start = Instant::now();
            let outcome = run(&context).map_err(|error| Failed::from(format!("{error:#}")));
            eprint!("({:.1} s) ", start.elapsed().as_secs_f64());
            outcome
        }),
        // Only listed, or filtered out.
        (_, None) => Trial::test(name, || Err(Failed::from("it was not to run"))),
    }
}

fn is_wanted(arguments: &Arguments, name: &str) -> bool {
    let matches = |pattern: &str| if arguments.exact { name == pattern } else { name.contains(pattern) };
    !arguments.skip.iter().any(|pattern| matches(pattern)) && arguments.filter.as_deref().is_none_or(matches)
}
