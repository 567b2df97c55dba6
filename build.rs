//! Says whether MLX is built in, and passes the place of a prepared MLX to the linker.
//!
//! `scripts/mlx-linux.sh` writes a Cargo config that gives `mlx-sys` an `rpath` key; Cargo hands
//! it over as `DEP_MLX_RPATH`. Without that config (every ordinary build) nothing happens.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(mlx)");
    let feature = |name: &str| std::env::var_os(name).is_some();
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    // One name for "MLX is built in", whichever of the two features brought it.
    if (system == "macos" && feature("CARGO_FEATURE_MLX"))
        || (system == "linux" && feature("CARGO_FEATURE_MLX_LINUX"))
    {
        println!("cargo::rustc-cfg=mlx");
    }
    if let Ok(paths) = std::env::var("DEP_MLX_RPATH") {
        for path in paths.split(':') {
            println!("cargo::rustc-link-arg=-Wl,-rpath,{path}");
        }
        // The CUDA build of MLX refers to NVIDIA's libraries, which only the machine it runs on has.
        println!("cargo::rustc-link-arg=-Wl,--allow-shlib-undefined");
    }
}
