//! What a guest boots: a folder with a kernel, an initramfs and a manifest.
//!
//! Owns the way from inputs to that folder: [`layout`] says what the root holds ([`variant`] has the
//! built-in ones), [`elf`], [`kernel`], [`modules`] and [`packages`] look at the inputs, [`assembly`]
//! makes the list of entries ([`root`], [`content`]), [`archive`] and [`ext4`] write it, [`inventory`]
//! and [`manifest`] describe the result, [`folder`] puts it in place, [`mod@build`] ties them together.
//! Every file is read by [`regular`], so that none is endless.
//! Refuses the clock, the user, the umask and the folder it runs in: an image is a pure function of
//! its inputs' bytes.

pub mod archive;
pub mod assembly;
pub mod build;
pub mod content;
pub mod elf;
pub mod ext4;
pub mod folder;
pub mod inventory;
pub mod kernel;
pub mod layout;
pub mod manifest;
pub mod modules;
pub mod packages;
pub mod root;
pub mod variant;

mod error;
mod program;
mod regular;
mod staging;

pub use build::{Inputs, LayoutInput, build};
pub use error::ImageError;
pub use manifest::{Image, Manifest};
pub use variant::Variant;
