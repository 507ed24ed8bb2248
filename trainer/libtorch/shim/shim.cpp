// What tch does not bind and the train step needs: the backward functions of convolution and batch norm, inference mode
// and an allocator. Called from src/ffi.rs only.
//
// Every function returns 0, or 1 after writing a zero-terminated message into `message`: no C++ exception crosses into
// Rust. Tensors handed out are `new at::Tensor`, the form in which tch owns and frees them.
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/native_batch_norm_backward.h>
#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <exception>

#include "allocator.h"

namespace {

constexpr std::size_t message_size = 1024;

template <typename Body>
int guarded(char* message, Body body) {
    const char* what = "unknown C++ exception";
    try {
        body();
        return 0;
    } catch (const c10::Error& error) {
        // Without the C++ backtrace.
        std::strncpy(message, error.what_without_backtrace(), message_size - 1);
    } catch (const std::exception& error) {
        std::strncpy(message, error.what(), message_size - 1);
    } catch (...) {
        std::strncpy(message, what, message_size - 1);
    }
    message[message_size - 1] = '\0';
    return 1;
}

at::Tensor* handed_out(at::Tensor&& tensor) {
    return tensor.defined() ? new at::Tensor(std::move(tensor)) : nullptr;
}

}  // namespace

extern "C" {

// results: gradients of input (null unless input_gradient), weight and bias.
int lockstep_convolution_backward(const at::Tensor* gradient, const at::Tensor* input, const at::Tensor* weight,
                                  int64_t padding, bool input_gradient, at::Tensor** results, char* message) {
    return guarded(message, [&] {
        const std::array<int64_t, 1> bias{weight->size(0)};
        const std::array<int64_t, 2> pad{padding, padding}, one{1, 1}, zero{0, 0};
        auto [input_result, weight_result, bias_result] = at::convolution_backward(
            *gradient, *input, *weight, at::IntArrayRef(bias), one, pad, one, false, zero, 1,
            {input_gradient, true, true});
        results[0] = handed_out(std::move(input_result));
        results[1] = handed_out(std::move(weight_result));
        results[2] = handed_out(std::move(bias_result));
    });
}

// results: gradients of input (null unless input_gradient), scale and offset.
int lockstep_batch_norm_backward(const at::Tensor* gradient, const at::Tensor* input, const at::Tensor* scale,
                                 const at::Tensor* mean, const at::Tensor* inverse_deviation, double epsilon,
                                 bool input_gradient, at::Tensor** results, char* message) {
    return guarded(message, [&] {
        auto [input_result, scale_result, offset_result] = at::native_batch_norm_backward(
            *gradient, *input, *scale, std::nullopt, std::nullopt, *mean, *inverse_deviation, true, epsilon,
            {input_gradient, true, true});
        results[0] = handed_out(std::move(input_result));
        results[1] = handed_out(std::move(scale_result));
        results[2] = handed_out(std::move(offset_result));
    });
}

// Inference mode of the calling thread, until lockstep_inference_leave on the same thread.
int lockstep_inference_enter(c10::InferenceMode** mode, char* message) {
    return guarded(message, [&] { *mode = new c10::InferenceMode(true); });
}

void lockstep_inference_leave(c10::InferenceMode* mode) { delete mode; }

int lockstep_keep_memory(char* message) {
    return guarded(message, [] { lockstep_install_allocator(); });
}
}
