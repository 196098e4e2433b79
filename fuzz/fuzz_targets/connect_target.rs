#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| smolvm_fuzz::connect_target::check(bytes));
