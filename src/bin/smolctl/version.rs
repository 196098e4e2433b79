//! `smolctl version`.

use crate::arguments::VersionArguments;
use crate::failure::Failure;
use crate::output::print_line;
use serde_json::json;
use smolvm_protocol::PROTOCOL_VERSION;

pub(crate) fn version(arguments: &VersionArguments) -> Result<u8, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if arguments.json {
        print_line(&json!({"version": version, "protocol": PROTOCOL_VERSION}).to_string())?;
    } else {
        print_line(&format!("smolctl {version}, protocol {PROTOCOL_VERSION}"))?;
    }
    Ok(0)
}
