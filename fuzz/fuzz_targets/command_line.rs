#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| smolvm_fuzz::command_line::check(bytes));
