//! A VM's life on this host: QEMU, the vsock device, and what is known of both.
//!
//! Owns one directory per VM ([`registry`]), QEMU's arguments ([`qemu`]), the choice between KVM and
//! emulation ([`accelerator`]), CIDs ([`cid_pool`]), and the way up ([`mod@start`]) and down ([`mod@stop`]). Refuses to know the
//! control protocol: it asks the agent through [`crate::channel`]. Processes are ended by id, and
//! only after their start time was compared, so that a number used again is never hit.

pub mod accelerator;
pub mod cid_pool;
pub mod device;
pub mod logs;
pub mod machine;
pub mod network;
pub mod process;
pub mod qemu;
pub mod record;
pub mod registry;
pub mod start;
pub mod stop;

mod attempt;
mod boot;
mod cmdline;
mod console;
mod detached;
mod disk;
mod error;
mod tsc;

pub use accelerator::{Acceleration, Accelerator};
pub use cid_pool::{CidLease, CidPool};
pub use device::DeviceChoice;
pub use error::VmError;
pub use logs::{Log, LogKind};
pub use machine::Machine;
pub use network::{Forward, Network};
pub use record::{Status, VmRecord};
pub use registry::Registry;
pub use start::{Progress, StartOptions, Started, start};
pub use stop::{remove, stop};
