//! Links GCC's unwinder into the program, because loading it as a shared library takes a tenth of a small call.

#![allow(clippy::print_stdout, reason = "this is how a build script talks to cargo")]

use std::env;

fn main() {
    let target = |part| env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    if target("OS") == "linux" && target("ENV") == "gnu" {
        println!("cargo::rustc-link-lib=gcc_eh");
    }
    println!("cargo::rerun-if-changed=src/build.rs");
}
