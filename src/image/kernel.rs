//! Is a file a Linux kernel that can boot on an architecture, and which release is it?
//!
//! Owns the two boot headers (Documentation/arch/x86/boot.rst, Documentation/arch/arm64/booting.rst
//! in the kernel's tree). Refuses to unpack more than [`MAX_KERNEL_BYTES`].

use crate::arch::Arch;
use std::io::Read;

/// The largest kernel that is looked at, as it is and unpacked.
pub(super) const MAX_KERNEL_BYTES: u64 = 256 * 1024 * 1024;

const X86_SETUP_SECTORS: usize = 0x1F1;
const X86_SYSTEM_PARAGRAPHS: usize = 0x1F4;
const X86_MAGIC: usize = 0x202;
const X86_VERSION_STRING: usize = 0x20E;
const X86_LOAD_FLAGS: usize = 0x236;
const ARM64_MAGIC: usize = 0x38;

/// Checks that `bytes` are a kernel for `arch`.
///
/// # Errors
/// What is wrong, as the end of a sentence that begins with the kernel.
pub fn check(bytes: &[u8], arch: Arch) -> Result<(), String> {
    let found = if is_bz_image(bytes) {
        Arch::X86_64
    } else if is_arm64_image(&unpacked(bytes)) {
        Arch::Aarch64
    } else {
        return Err("is no Linux kernel image (neither a bzImage nor an arm64 Image)".to_owned());
    };
    if found != arch {
        return Err(format!("is a kernel for {found}, not for {arch}"));
    }
    if arch == Arch::X86_64 {
        check_bz_image(bytes)?;
    }
    Ok(())
}

/// The kernel's release (`uname -r`), where the image tells it.
#[must_use]
pub fn release(bytes: &[u8]) -> Option<String> {
    if is_bz_image(bytes) {
        let offset = usize::from(u16_at(bytes, X86_VERSION_STRING)) + 0x200;
        return first_word(bytes.get(offset..)?);
    }
    let image = unpacked(bytes);
    let banner = b"Linux version ";
    let at = image
        .windows(banner.len() + 1)
        .position(|window| window.starts_with(banner) && window[banner.len()].is_ascii_digit())?;
    first_word(&image[at + banner.len()..])
}

fn is_bz_image(bytes: &[u8]) -> bool {
    bytes.get(0x1FE..0x200) == Some(&[0x55, 0xAA])
        && bytes.get(X86_MAGIC..X86_MAGIC + 4) == Some(b"HdrS")
        && bytes.len() > X86_LOAD_FLAGS + 2
}

fn is_arm64_image(bytes: &[u8]) -> bool {
    bytes.get(ARM64_MAGIC..ARM64_MAGIC + 4) == Some(b"ARM\x64")
}

fn check_bz_image(bytes: &[u8]) -> Result<(), String> {
    if u16_at(bytes, X86_LOAD_FLAGS) & 1 == 0 {
        return Err("is a kernel for 32-bit x86, not for x86_64".to_owned());
    }
    let setup_sectors = match bytes[X86_SETUP_SECTORS] {
        0 => 4,
        sectors => u64::from(sectors),
    };
    let paragraphs = u64::from(u16_at(bytes, X86_SYSTEM_PARAGRAPHS))
        | u64::from(u16_at(bytes, X86_SYSTEM_PARAGRAPHS + 2)) << 16;
    if (bytes.len() as u64) < (setup_sectors + 1) * 512 + paragraphs * 16 {
        return Err("is a truncated Linux kernel image".to_owned());
    }
    Ok(())
}

/// The image itself where it is packed with gzip, as arm64 kernels may be.
fn unpacked(bytes: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if !bytes.starts_with(&[0x1F, 0x8B]) {
        return bytes.into();
    }
    let mut image = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(bytes).take(MAX_KERNEL_BYTES);
    match decoder.read_to_end(&mut image) {
        Ok(_) => image.into(),
        Err(_) => bytes.into(),
    }
}

fn first_word(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| !byte.is_ascii_graphic())?;
    let word = std::str::from_utf8(&bytes[..end]).ok()?;
    (!word.is_empty()).then(|| word.to_owned())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write;

    /// The shortest file that passes for an x86_64 kernel of release `release`.
    pub(crate) fn bz_image(release: &str) -> Vec<u8> {
        let mut image = vec![0; 2048];
        image[X86_SETUP_SECTORS] = 1;
        image[X86_SYSTEM_PARAGRAPHS] = 64;
        image[0x1FE..0x206].copy_from_slice(b"\x55\xAA\0\0HdrS");
        image[X86_VERSION_STRING..X86_VERSION_STRING + 2].copy_from_slice(&[0, 1]);
        image[X86_LOAD_FLAGS] = 1;
        image[0x300..0x300 + release.len()].copy_from_slice(release.as_bytes());
        image
    }

    fn arm64_image() -> Vec<u8> {
        let mut image = vec![0; 64];
        image[ARM64_MAGIC..].copy_from_slice(b"ARM\x64\0\0\0\0");
        image.extend(b"Linux version %s\0Linux version 6.1.0-9 (x@y)\0");
        image
    }

    #[test]
    fn bz_image_is_for_x86_64_alone_and_tells_its_release() {
        let image = bz_image("6.1.0-1-cloud (builder) #1");
        assert_eq!(check(&image, Arch::X86_64), Ok(()));
        assert_eq!(release(&image).as_deref(), Some("6.1.0-1-cloud"));
        assert_eq!(
            check(&image, Arch::Aarch64).unwrap_err(),
            "is a kernel for x86_64, not for aarch64"
        );
    }

    #[test]
    fn truncated_and_32_bit_bz_images_are_refused() {
        let mut image = bz_image("6.1");
        assert_eq!(
            check(&image[..2047], Arch::X86_64).unwrap_err(),
            "is a truncated Linux kernel image"
        );
        image[X86_LOAD_FLAGS] = 0;
        assert!(check(&image, Arch::X86_64).unwrap_err().contains("32-bit"));
    }

    #[test]
    fn arm64_image_is_known_plain_and_packed() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&arm64_image()).unwrap();
        for image in [arm64_image(), packed.finish().unwrap()] {
            assert_eq!(check(&image, Arch::Aarch64), Ok(()));
            assert_eq!(release(&image).as_deref(), Some("6.1.0-9"));
            assert!(check(&image, Arch::X86_64).is_err());
        }
    }

    #[test]
    fn any_short_file_is_refused_without_panic() {
        for length in [0, 1, 0x200, 0x206, 0x236] {
            assert!(check(&vec![0; length], Arch::X86_64).is_err());
        }
    }
}
