//! What a guest boots: a folder with a kernel, an initramfs and a manifest.
//!
//! Owns the way from inputs to that folder: [`layout`] says what the root holds ([`variant`] has the
//! built-in ones), [`elf`], [`kernel`], [`modules`] and [`packages`] look at the inputs, [`assembly`]
//! makes the list of entries ([`root`], [`content`]), [`archive`] and [`ext4`] write it, [`listing`]
//! and [`manifest`] describe the result, [`folder`] puts it in place, [`mod@build`] ties them together.
//! Every file is read by [`regular`], so that none is endless.
//! Refuses the clock, the user, the umask and the folder it runs in: an image is a pure function of
//! its inputs' bytes.

pub mod archive;
pub mod assembly;
pub mod build;
pub mod compare;
pub mod content;
pub mod difference;
pub mod elf;
pub mod ext4;
pub mod folder;
pub mod init;
pub mod inject;
pub mod kernel;
pub mod layout;
pub mod listing;
pub mod manifest;
pub mod modules;
pub mod output;
pub mod packages;
pub mod root;
pub mod tree;
pub mod variant;
pub mod verify;

mod error;
mod ext4_script;
mod folder_output;
mod init_script;
mod placing;
mod program;
mod regular;
mod staging;
mod tar_members;
mod tar_output;
mod tool;
mod tree_archive;
mod tree_folder;
mod tree_path;

pub use build::{Inputs, LayoutInput, build};
pub use error::ImageError;
pub use manifest::{Image, Manifest};
pub(crate) use tool::find as find_tool;
pub use variant::Variant;
