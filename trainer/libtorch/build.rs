//! Compiles the C++ shim (`shim/`) against the libtorch that tch was built with, and lets this crate's programs find
//! libtorch beside themselves (as in their image) or where they were linked against it.
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=shim");
    let Some(libraries) = std::env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        panic!("torch-sys did not say where libtorch is: set LIBTORCH to its folder (make setup does)");
    };
    let include = libraries.join("../include");
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .pic(true)
        .warnings(false)
        .opt_level(2)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file("shim/allocator.cpp")
        .file("shim/shim.cpp")
        .compile("lockstep_shim");
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", libraries.display());
}
