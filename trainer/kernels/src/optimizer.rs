//! Updates of parameters by reduced gradients: Adam and SGD on flat buffers.
//!
//! Only additions, subtractions, multiplications, divisions and square roots, each rounded once; nothing is fused.

use crate::isa::{Isa, Kernel};
use crate::simd::Simd;

/// Adam's constants of one step (D. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm 1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Multiplies the gradients: 1 / micro-batches.
    pub mean: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// 1 - `beta1`, rounded once.
    pub one_minus_beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// 1 - `beta2`, rounded once.
    pub one_minus_beta2: f32,
    /// Learning rate over the first moment's bias correction.
    pub rate: f32,
    /// 1 / root of the second moment's bias correction.
    pub root_correction: f32,
    /// Added to the root of the corrected second moment.
    pub epsilon: f32,
}

impl Adam {
    /// For each element, with `g = gradient * mean`:
    /// `first = first * beta1 + g * one_minus_beta1`; `second = second * beta2 + (g * g) * one_minus_beta2`;
    /// `parameter -= (rate * first) / (sqrt(second) * root_correction + epsilon)`.
    ///
    /// All four of the same length.
    pub fn update(
        &self,
        isa: Isa,
        parameters: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
        gradients: &[f32],
    ) {
        let len = parameters.len();
        assert!(first.len() == len && second.len() == len && gradients.len() == len, "buffers of one length");
        isa.run(AdamUpdate { rule: *self, parameters, first, second, gradients });
    }

    #[inline(always)]
    fn one(&self, parameter: &mut f32, first: &mut f32, second: &mut f32, gradient: f32) {
        let gradient = gradient * self.mean;
        *first = *first * self.beta1 + gradient * self.one_minus_beta1;
        *second = *second * self.beta2 + gradient * gradient * self.one_minus_beta2;
        *parameter -= self.rate * *first / (second.sqrt() * self.root_correction + self.epsilon);
    }
}

struct AdamUpdate<'a> {
    rule: Adam,
    parameters: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    gradients: &'a [f32],
}

impl Kernel for AdamUpdate<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { rule, parameters, first, second, gradients } = self;
        let mut parameters = parameters.chunks_exact_mut(S::LEN);
        let mut firsts = first.chunks_exact_mut(S::LEN);
        let mut seconds = second.chunks_exact_mut(S::LEN);
        let mut gradients = gradients.chunks_exact(S::LEN);
        for (((parameter, first), second), gradient) in
            (&mut parameters).zip(&mut firsts).zip(&mut seconds).zip(&mut gradients)
        {
            // SAFETY: `S` is the CPU's; the slices are one vector long.
            unsafe {
                let gradient = S::mul(S::load(gradient.as_ptr()), S::splat(rule.mean));
                let kept = S::mul(S::load(first.as_ptr()), S::splat(rule.beta1));
                let one = S::add(kept, S::mul(gradient, S::splat(rule.one_minus_beta1)));
                let kept = S::mul(S::load(second.as_ptr()), S::splat(rule.beta2));
                let square = S::mul(gradient, gradient);
                let two = S::add(kept, S::mul(square, S::splat(rule.one_minus_beta2)));
                let root = S::mul(S::sqrt(two), S::splat(rule.root_correction));
                let step = S::div(S::mul(S::splat(rule.rate), one), S::add(root, S::splat(rule.epsilon)));
                S::store(first.as_mut_ptr(), one);
                S::store(second.as_mut_ptr(), two);
                S::store(parameter.as_mut_ptr(), S::sub(S::load(parameter.as_ptr()), step));
            }
        }
        let moments = firsts.into_remainder().iter_mut().zip(seconds.into_remainder());
        let parameters = parameters.into_remainder().iter_mut();
        for ((parameter, (first, second)), &gradient) in parameters.zip(moments).zip(gradients.remainder()) {
            rule.one(parameter, first, second, gradient);
        }
    }
}

/// SGD's constants of one step, as PyTorch defines it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Multiplies the gradients: 1 / micro-batches.
    pub mean: f32,
    /// Share of the velocity kept.
    pub momentum: f32,
    /// Times the parameters, added to the gradients.
    pub weight_decay: f32,
    /// Learning rate.
    pub learning_rate: f32,
    /// Whether the gradient is taken where momentum leads.
    pub nesterov: bool,
}

impl Sgd {
    /// For each element, with `g = gradient * mean + parameter * weight_decay`: `velocity = velocity * momentum + g`;
    /// `ahead = nesterov ? g + velocity * momentum : velocity`; `parameter -= learning_rate * ahead`.
    ///
    /// All of the same length; an empty `velocity` means no momentum: `ahead = g`.
    pub fn update(&self, isa: Isa, parameters: &mut [f32], velocity: &mut [f32], gradients: &[f32]) {
        assert!(gradients.len() == parameters.len(), "buffers of one length");
        if velocity.is_empty() {
            isa.run(SgdUpdate { rule: *self, parameters, gradients });
        } else {
            assert!(velocity.len() == parameters.len(), "buffers of one length");
            isa.run(MomentumUpdate { rule: *self, parameters, velocity, gradients });
        }
    }
}

struct SgdUpdate<'a> {
    rule: Sgd,
    parameters: &'a mut [f32],
    gradients: &'a [f32],
}

// Compiled once for each instruction set, these loops become vectors without being written as such: Rust never fuses.
impl Kernel for SgdUpdate<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { rule, parameters, gradients } = self;
        for (parameter, &gradient) in parameters.iter_mut().zip(gradients) {
            let gradient = gradient * rule.mean + *parameter * rule.weight_decay;
            *parameter -= rule.learning_rate * gradient;
        }
    }
}

struct MomentumUpdate<'a> {
    rule: Sgd,
    parameters: &'a mut [f32],
    velocity: &'a mut [f32],
    gradients: &'a [f32],
}

impl Kernel for MomentumUpdate<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { rule, parameters, velocity, gradients } = self;
        for ((parameter, velocity), &gradient) in parameters.iter_mut().zip(velocity).zip(gradients) {
            let gradient = gradient * rule.mean + *parameter * rule.weight_decay;
            *velocity = *velocity * rule.momentum + gradient;
            let ahead = if rule.nesterov { gradient + *velocity * rule.momentum } else { *velocity };
            *parameter -= rule.learning_rate * ahead;
        }
    }
}

/// Whether no value is infinite or NaN.
pub fn all_finite(isa: Isa, values: &[f32]) -> bool {
    isa.run(AllFinite { values })
}

struct AllFinite<'a> {
    values: &'a [f32],
}

impl Kernel for AllFinite<'_> {
    type Output = bool;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> bool {
        // Without a branch for each value, so that it vectorises; infinity and NaN are above all numbers.
        self.values.chunks(4096).all(|values| {
            let largest = values.iter().fold(0, |largest, value| largest.max(value.to_bits() & 0x7fff_ffff));
            largest < f32::INFINITY.to_bits()
        })
    }
}
