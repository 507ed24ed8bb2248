//! All `unsafe` of this crate: calls into the C++ shim (`shim/shim.cpp`) for what tch does not bind, and memory shared
//! between Rust slices and libtorch tensors.
//!
//! Rules that keep it sound, all local to this crate:
//! - A [`View`] borrows the slice it shows; operators use it as argument or destination of an operation and never keep
//!   the tensor in it (`shallow_clone`, `view` and the like share memory without the lifetime).
//! - Slices of a tensor's memory live only inside the closures given to [`read`] and [`write`]. Tensors are not `Sync` and
//!   those closures call no libtorch operation and open no slice of a tensor that may share the memory, so nothing else
//!   touches it meanwhile.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;

use tch::{Device, Kind, TchError, Tensor};

/// Size of the shim's message buffer (`message_size` there).
const MESSAGE_SIZE: usize = 1024;

unsafe extern "C" {
    fn lockstep_convolution_backward(
        gradient: *const c_void,
        input: *const c_void,
        weight: *const c_void,
        padding: i64,
        input_gradient: bool,
        results: *mut *mut c_void,
        message: *mut c_char,
    ) -> c_int;
    fn lockstep_batch_norm_backward(
        gradient: *const c_void,
        input: *const c_void,
        scale: *const c_void,
        mean: *const c_void,
        inverse_deviation: *const c_void,
        epsilon: f64,
        input_gradient: bool,
        results: *mut *mut c_void,
        message: *mut c_char,
    ) -> c_int;
    fn lockstep_inference_enter(mode: *mut *mut c_void, message: *mut c_char) -> c_int;
    fn lockstep_inference_leave(mode: *mut c_void);
    fn lockstep_keep_memory(message: *mut c_char) -> c_int;
}

/// Gradients of a layer with two parameter tensors.
pub(crate) struct Gradients {
    /// Of the input; `None` where it was not asked for.
    pub(crate) input: Option<Tensor>,
    /// Of the kernel or scale.
    pub(crate) weight: Tensor,
    /// Of the bias or offset.
    pub(crate) bias: Tensor,
}

/// `at::convolution_backward` of a stride-1 convolution with bias and `padding` zeros on all four sides.
pub(crate) fn convolution_backward(
    gradient: &Tensor,
    input: &Tensor,
    weight: &Tensor,
    padding: i64,
    input_gradient: bool,
) -> Result<Gradients, TchError> {
    collect(|results, message| {
        // SAFETY: the tensors outlive the call; `results` holds three pointers and `message` MESSAGE_SIZE bytes.
        unsafe {
            lockstep_convolution_backward(
                gradient.as_ptr().cast(),
                input.as_ptr().cast(),
                weight.as_ptr().cast(),
                padding,
                input_gradient,
                results,
                message,
            )
        }
    })
}

/// `at::native_batch_norm_backward` in training mode, from the saved batch mean and inverse deviation.
pub(crate) fn batch_norm_backward(
    gradient: &Tensor,
    input: &Tensor,
    scale: &Tensor,
    mean: &Tensor,
    inverse_deviation: &Tensor,
    epsilon: f64,
    input_gradient: bool,
) -> Result<Gradients, TchError> {
    collect(|results, message| {
        // SAFETY: as in `convolution_backward`.
        unsafe {
            lockstep_batch_norm_backward(
                gradient.as_ptr().cast(),
                input.as_ptr().cast(),
                scale.as_ptr().cast(),
                mean.as_ptr().cast(),
                inverse_deviation.as_ptr().cast(),
                epsilon,
                input_gradient,
                results,
                message,
            )
        }
    })
}

fn collect(call: impl FnOnce(*mut *mut c_void, *mut c_char) -> c_int) -> Result<Gradients, TchError> {
    let mut results = [std::ptr::null_mut(); 3];
    checked(|message| call(results.as_mut_ptr(), message))?;
    // SAFETY: a pointer that is not null is a `new at::Tensor` that the shim gave up.
    let [input, weight, bias] =
        results.map(|result| (!result.is_null()).then(|| unsafe { Tensor::from_ptr(result.cast()) }));
    match (weight, bias) {
        (Some(weight), Some(bias)) => Ok(Gradients { input, weight, bias }),
        _ => Err(TchError::Torch("no gradient of a parameter was returned".into())),
    }
}

fn checked(call: impl FnOnce(*mut c_char) -> c_int) -> Result<(), TchError> {
    let mut message: [c_char; MESSAGE_SIZE] = [0; MESSAGE_SIZE];
    if call(message.as_mut_ptr()) == 0 {
        return Ok(());
    }
    // SAFETY: the shim ended the message with a zero within the buffer.
    let message = unsafe { CStr::from_ptr(message.as_ptr()) };
    Err(TchError::Torch(message.to_string_lossy().into_owned()))
}

/// From here on every thread keeps the memory of its dropped tensors for the next ones (`shim/allocator.cpp`).
pub(crate) fn keep_memory() -> Result<(), TchError> {
    // SAFETY: `message` holds MESSAGE_SIZE bytes; tensors made before keep their own allocator.
    checked(|message| unsafe { lockstep_keep_memory(message) })
}

/// libtorch's inference mode on this thread while it lives: no autograd, no version counters.
pub(crate) struct Inference {
    /// Also keeps the guard on its thread: raw pointers are not `Send`.
    mode: *mut c_void,
}

impl Inference {
    pub(crate) fn enter() -> Result<Self, TchError> {
        let mut mode = std::ptr::null_mut();
        // SAFETY: the shim fills `mode` with a guard that only `drop` below frees.
        checked(|message| unsafe { lockstep_inference_enter(&mut mode, message) })?;
        Ok(Self { mode })
    }
}

impl Drop for Inference {
    fn drop(&mut self) {
        // SAFETY: on the thread that entered, once.
        unsafe { lockstep_inference_leave(self.mode) }
    }
}

/// A tensor over a borrowed slice.
pub(crate) struct View<'a> {
    tensor: Tensor,
    memory: PhantomData<&'a mut [f32]>,
}

impl View<'_> {
    pub(crate) fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The same values with channels innermost, still bound to the slice (which they share when they lie so already).
    pub(crate) fn channels_last(self) -> Result<Self, TchError> {
        Ok(Self { tensor: channels_last(self.tensor)?, memory: PhantomData })
    }

    /// Overwrites the slice with the values of `source` in the view's own layout.
    pub(crate) fn copy_from(&mut self, source: &Tensor) -> Result<(), TchError> {
        self.tensor.f_copy_(source).map(drop)
    }
}

/// A read-only tensor over `values`, row-major with `dims`. No operation may write into it.
pub(crate) fn view<'a>(values: &'a [f32], dims: &[usize]) -> Result<View<'a>, TchError> {
    // SAFETY: checked to cover exactly the slice, which the view borrows; only read, by this function's contract.
    unsafe { share(values.as_ptr(), values.len(), dims) }
}

/// A tensor over `values`, row-major with `dims`, for operations to write into.
pub(crate) fn view_mut<'a>(values: &'a mut [f32], dims: &[usize]) -> Result<View<'a>, TchError> {
    // SAFETY: checked to cover exactly the slice, which the view borrows exclusively.
    unsafe { share(values.as_mut_ptr(), values.len(), dims) }
}

/// # Safety
/// `values` points to `len` initialised values that live as long as the result is used.
unsafe fn share<'a>(values: *const f32, len: usize, dims: &[usize]) -> Result<View<'a>, TchError> {
    let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
    let mut strides = [1_i64; 8];
    let Some(strides) = strides.get_mut(..dims.len()) else {
        return Err(TchError::Shape(format!("more than eight dimensions: {dims:?}")));
    };
    let mut covered = 1_i64;
    for (stride, dim) in strides.iter_mut().zip(&dims).rev() {
        *stride = covered;
        covered *= dim;
    }
    if usize::try_from(covered) != Ok(len) {
        return Err(TchError::Shape(format!("{len} values seen as {dims:?}")));
    }
    // SAFETY: by the caller, and the strides stay within `len`.
    let tensor = unsafe { Tensor::f_from_blob(values.cast(), &dims, strides, Kind::Float, Device::Cpu)? };
    Ok(View { tensor, memory: PhantomData })
}

/// Runs `body` over the values in memory order: row-major, or NHWC for a channels-last image tensor.
pub(crate) fn read<R>(tensor: &Tensor, body: impl FnOnce(&[f32]) -> R) -> Result<R, TchError> {
    let len = dense_len(tensor)?;
    // SAFETY: `dense_len` values start there; see the rules above for who else may touch them.
    Ok(body(unsafe { slice(tensor, len) }))
}

/// Runs `body` over the values in memory order, for it to change them.
pub(crate) fn write<R>(tensor: &mut Tensor, body: impl FnOnce(&mut [f32]) -> R) -> Result<R, TchError> {
    let len = dense_len(tensor)?;
    // SAFETY: as in `read`; the exclusive borrow stands for the memory by the rules above.
    Ok(body(unsafe { slice_mut(tensor, len) }))
}

unsafe fn slice<'a>(tensor: &Tensor, len: usize) -> &'a [f32] {
    if len == 0 {
        return &[];
    }
    // SAFETY: by the caller.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast_const().cast(), len) }
}

unsafe fn slice_mut<'a>(tensor: &mut Tensor, len: usize) -> &'a mut [f32] {
    if len == 0 {
        return &mut [];
    }
    // SAFETY: by the caller.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), len) }
}

/// The number of values of a CPU `f32` tensor without gaps, row-major or channels-last.
fn dense_len(tensor: &Tensor) -> Result<usize, TchError> {
    let (kind, device) = (tensor.f_kind()?, tensor.device());
    if kind != Kind::Float || device != Device::Cpu {
        return Err(TchError::Kind(format!("{kind:?} on {device:?} where f32 on the CPU was expected")));
    }
    if !(tensor.is_contiguous() || is_channels_last(tensor)?) {
        return Err(TchError::Shape(format!("gaps in a tensor with strides {:?}", tensor.stride())));
    }
    Ok(tensor.numel())
}

fn is_channels_last(tensor: &Tensor) -> Result<bool, TchError> {
    Ok(tensor.dim() == 4 && tensor.f_permute([0, 2, 3, 1])?.is_contiguous())
}

/// The tensor with channels innermost in memory: itself where it is so already.
pub(crate) fn channels_last(tensor: Tensor) -> Result<Tensor, TchError> {
    if tensor.dim() != 4 || is_channels_last(&tensor)? {
        return Ok(tensor);
    }
    tensor.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_inside_libtorch_comes_back_as_an_error() {
        let image = Tensor::zeros([2, 3, 4, 4], (Kind::Float, Device::Cpu));
        let wrong = Tensor::zeros([5, 7, 3, 3], (Kind::Float, Device::Cpu));
        let error = convolution_backward(&image, &image, &wrong, 1, true).err().unwrap();
        let TchError::Torch(message) = error else { panic!("{error}") };
        assert!(!message.is_empty() && message.len() < MESSAGE_SIZE, "{message}");
        assert!(batch_norm_backward(&image, &image, &wrong, &wrong, &wrong, 1e-3, true).is_err());
    }

    #[test]
    fn memory_order_is_seen_as_it_lies_and_gaps_are_refused() {
        let tensor = Tensor::arange(24, (Kind::Float, Device::Cpu)).view([1, 2, 3, 4]);
        let last = channels_last(tensor.shallow_clone()).unwrap();
        assert_eq!(read(&last, |values| values[..4].to_vec()).unwrap(), [0.0, 12.0, 1.0, 13.0]);
        assert!(read(&tensor.narrow(3, 0, 2), |_| ()).is_err());
        assert!(read(&tensor.to_kind(Kind::Double), |_| ()).is_err());
        assert!(view(&[0.0; 6], &[2, 4]).is_err());
    }

    /// The allocator hands a block from one thread's tensor to another's: none may be too small, shared or unaligned.
    #[test]
    fn kept_memory_is_aligned_large_enough_and_never_shared() {
        keep_memory().unwrap();
        let fill = |round: usize| {
            let lens = [0, 1, 15, 1023, 1024, 1025, 1279, 1281, 40_000, 262_144, 262_145];
            let mut tensors: Vec<_> = lens
                .map(|len| len + round % 3)
                .map(|len| (len, Tensor::empty([len as i64], (Kind::Float, Device::Cpu))))
                .into();
            for (number, (len, tensor)) in tensors.iter_mut().enumerate() {
                assert!((tensor.data_ptr() as usize).is_multiple_of(lockstep_nn::flat::ALIGNMENT), "{len}");
                write(tensor, |values| values.fill((round * 100 + number) as f32)).unwrap();
            }
            for (number, (len, tensor)) in tensors.iter().enumerate() {
                let expected = (round * 100 + number) as f32;
                let seen =
                    read(tensor, |values| (values.len(), values.iter().all(|&value| value == expected)));
                assert_eq!(seen.unwrap(), (*len, true));
            }
            tensors
        };
        std::thread::scope(|scope| {
            for thread in 0..3 {
                scope.spawn(move || {
                    for round in 0..20 {
                        // Made there, dropped here, and the other way round.
                        let made = std::thread::scope(|inner| inner.spawn(|| fill(round)).join()).unwrap();
                        let ours = fill(round + thread);
                        std::thread::scope(|inner| inner.spawn(move || drop(ours)).join()).unwrap();
                        drop(made);
                    }
                });
            }
        });
    }

    #[test]
    fn a_view_writes_through_to_its_slice() {
        let mut values = [0.0; 6];
        let source = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([3, 2]).tr();
        view_mut(&mut values, &[2, 3]).unwrap().copy_from(&source).unwrap();
        assert_eq!(values, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
    }
}
