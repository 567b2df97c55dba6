//! Passes the place of a prepared MLX to the linker.
//!
//! `scripts/mlx-linux.sh` writes a Cargo config that gives `mlx-sys` an `rpath` key; Cargo hands
//! it over as `DEP_MLX_RPATH`. Without that config (every ordinary build) nothing happens.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Ok(paths) = std::env::var("DEP_MLX_RPATH") {
        for path in paths.split(':') {
            println!("cargo::rustc-link-arg=-Wl,-rpath,{path}");
        }
        // The CUDA build of MLX refers to NVIDIA's libraries, which only the machine it runs on has.
        println!("cargo::rustc-link-arg=-Wl,--allow-shlib-undefined");
    }
}
