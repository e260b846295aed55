//! Any proxy variables give a proxy, none, or an error that does not repeat a password.

#![no_main]
#![allow(dead_code)]

include!("modules.rs");

use std::ffi::OsString;

use libfuzzer_sys::fuzz_target;

use client::proxy::choose;

fuzz_target!(|input: (&str, &str, &str)| {
    let (host, proxy, exceptions) = input;
    if proxy.contains("s3cretpassword") {
        return; // a host of that name may be shown
    }
    let proxy = format!("http://user:s3cretpassword{proxy}");
    let variables = |name: &str| {
        let value = match name {
            "https_proxy" => &proxy,
            "no_proxy" => exceptions,
            _ => return None,
        };
        Some(OsString::from(value))
    };
    match choose(host, &variables) {
        Ok(chosen) => assert!(!format!("{chosen:?}").contains("s3cretpassword")),
        Err(error) => assert!(!error.to_string().contains("s3cretpassword")),
    }
});
