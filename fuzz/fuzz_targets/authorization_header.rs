#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| auth_service::fuzz::check(
    "authorization_header",
    input
));
