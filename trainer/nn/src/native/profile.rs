//! How long each kind of pass takes, for whoever makes it faster: `LOCKSTEP_PROFILE=1`.

use std::time::{Duration, Instant};

/// A kind of work in a micro-batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Pack,
    Pixels,
    Fill,
    ConvolutionForward,
    Statistics,
    Pool,
    Dropout,
    Add,
    Flatten,
    DenseForward,
    Loss,
    DenseBackward,
    Unpool,
    NormSums,
    Propagate,
    ConvolutionData,
    ConvolutionWeights,
    Finish,
}

const PASSES: usize = Pass::Finish as usize + 1;

/// Measures, if asked to.
#[derive(Debug)]
pub(super) struct Clock(Option<Box<Times>>);

#[derive(Debug)]
struct Times {
    last: Instant,
    spent: [Duration; PASSES],
    /// Passes by their numbers, for printing.
    names: [Option<Pass>; PASSES],
    micro_batches: u32,
}

/// Micro-batches that are not counted: caches and buffers are cold.
const WARM_UP: u32 = 10;

impl Clock {
    /// Measures if the environment says so.
    pub(super) fn from_environment() -> Self {
        let wanted = std::env::var_os("LOCKSTEP_PROFILE").is_some_and(|value| value == "1");
        let times = || Times {
            last: Instant::now(),
            spent: [Duration::ZERO; PASSES],
            names: [None; PASSES],
            micro_batches: 0,
        };
        Self(wanted.then(|| Box::new(times())))
    }

    /// A micro-batch begins.
    pub(super) fn start(&mut self) {
        if let Some(times) = &mut self.0 {
            times.micro_batches += 1;
            if times.micro_batches == WARM_UP {
                times.spent = [Duration::ZERO; PASSES];
            }
            times.last = Instant::now();
        }
    }

    /// The time since the last call was this pass's.
    #[inline]
    pub(super) fn spent(&mut self, pass: Pass) {
        if let Some(times) = &mut self.0 {
            let now = Instant::now();
            times.spent[pass as usize] += now - times.last;
            times.names[pass as usize] = Some(pass);
            times.last = now;
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let Some(times) = &self.0 else { return };
        let counted = times.micro_batches.saturating_sub(WARM_UP - 1).max(1);
        let each = |spent: Duration| spent.as_secs_f64() * 1e3 / f64::from(counted);
        for (spent, pass) in times.spent.iter().zip(&times.names) {
            if let Some(pass) = pass {
                eprintln!("{:7.3} ms  {pass:?}", each(*spent));
            }
        }
        eprintln!("{:7.3} ms  in all, a mean over {counted} micro-batches", each(times.spent.iter().sum()));
    }
}
