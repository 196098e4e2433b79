//! What a guest is told that goes on after a pause or a restore: the time, and bytes that no other has.

use super::Request;
use crate::json::{self, Json};
use crate::response::Refusal;
use crate::text;
use std::fmt;
use std::time::SystemTime;

/// The fewest and the most bytes of entropy that a guest takes at a time.
pub const ENTROPY_BYTES: std::ops::RangeInclusive<usize> = 32..=512;

/// A point in time: nanoseconds since 1970, from 0 to [`i64::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixTime {
    nanoseconds: i64,
}

impl UnixTime {
    /// So many nanoseconds after the beginning of 1970; `None` where that is too late.
    #[must_use]
    pub fn from_nanoseconds(nanoseconds: u64) -> Option<Self> {
        let nanoseconds = i64::try_from(nanoseconds).ok()?;
        Some(Self { nanoseconds })
    }

    /// The same point; `None` where it is before 1970, or after 2262.
    #[must_use]
    pub fn from_system_time(time: SystemTime) -> Option<Self> {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Self::from_nanoseconds(u64::try_from(since.as_nanos()).ok()?)
    }

    /// Nanoseconds since the beginning of 1970, never negative.
    #[must_use]
    pub fn nanoseconds(self) -> i64 {
        self.nanoseconds
    }
}

/// Random bytes that nobody else knows, as many as [`ENTROPY_BYTES`] says.
#[derive(Clone, PartialEq, Eq)]
pub struct Entropy {
    bytes: Vec<u8>,
}

impl Entropy {
    /// These bytes; `None` where there are too few or too many.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        ENTROPY_BYTES
            .contains(&bytes.len())
            .then_some(Self { bytes })
    }

    /// The bytes of these digits, put in their place.
    fn from_hexadecimal(mut digits: Vec<u8>) -> Option<Self> {
        let mut are_digits = digits.len() % 2 == 0;
        let (mut value, mut is_second) = (0, true);
        digits.retain_mut(|place| {
            let digit = char::from(*place).to_digit(16);
            are_digits &= digit.is_some();
            // Two digits shift out what was there.
            value = value << 4 | digit.unwrap_or_default() as u8;
            *place = value;
            is_second = !is_second;
            is_second
        });
        Self::new(digits).filter(|_| are_digits)
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Without the bytes: they are a secret.
impl fmt::Debug for Entropy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} bytes of entropy", self.bytes.len())
    }
}

/// Parses a `set_clock`, of a request whose JSON is known to be valid.
#[inline(never)]
pub(super) fn set_clock(json: &[u8]) -> Result<Request, Refusal> {
    member(json, "unix_ns")
        .and_then(json::whole_number)
        .and_then(UnixTime::from_nanoseconds)
        .map(Request::SetClock)
        .ok_or_else(|| {
            Refusal::new(
                "'unix_ns' must be a whole number of nanoseconds since 1970, 0 to 9223372036854775807",
            )
        })
}

/// Parses a `reseed` likewise.
#[inline(never)]
pub(super) fn reseed(json: &[u8]) -> Result<Request, Refusal> {
    member(json, "entropy")
        .and_then(|digits| text::bytes_of(digits).ok())
        .and_then(Entropy::from_hexadecimal)
        .map(Request::Reseed)
        .ok_or_else(|| {
            Refusal::new(
                "'entropy' must be a string of hexadecimal digits, two for each of 32 to 512 bytes",
            )
        })
}

/// A member's own JSON. Not one of `Members`, which every request would pay for.
#[inline(never)]
fn member<'json>(json: &'json [u8], name: &str) -> Option<Json<'json>> {
    let json = std::str::from_utf8(json).ok()?;
    let [value] = json::members(json, name).ok()?;
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;
    use std::time::Duration;

    fn refusal(json: &str) -> String {
        match Request::parse(json.as_bytes()) {
            Err(refusal) => refusal.sentence().to_owned(),
            Ok(request) => panic!("{json}: {request:?}"),
        }
    }

    quickcheck! {
        fn time_and_entropy_that_a_host_encodes_the_agent_parses(time: u32, seed: u8) -> bool {
            let time = UnixTime::from_nanoseconds(u64::from(time) << 31);
            let bytes = vec![seed; 32 + usize::from(seed)];
            let requests = [
                Request::SetClock(time.unwrap()),
                Request::Reseed(Entropy::new(bytes).unwrap()),
            ];
            requests.into_iter().all(|request| {
                Request::parse(request.to_json().as_bytes()) == Ok(request)
            })
        }
    }

    #[test]
    fn time_is_taken_from_1970_on_for_as_long_as_64_bits_have_nanoseconds() {
        for nanoseconds in [0, 1_700_000_000_000_000_000, i64::MAX as u64] {
            let json = format!(r#"{{"op":"set_clock","unix_ns":{nanoseconds}}}"#);
            let time = UnixTime::from_nanoseconds(nanoseconds).unwrap();
            assert_eq!(Request::parse(json.as_bytes()), Ok(Request::SetClock(time)));
        }
        let sentence =
            "'unix_ns' must be a whole number of nanoseconds since 1970, 0 to 9223372036854775807";
        for member in [
            "",
            r#","unix_ns":null"#,
            r#","unix_ns":-1"#,
            r#","unix_ns":9223372036854775808"#,
            r#","unix_ns":1e18"#,
            r#","unix_ns":1.0"#,
            r#","unix_ns":"1""#,
            r#","unix_ns":true"#,
            r#","unix_ns":[1]"#,
        ] {
            let json = format!(r#"{{"op":"set_clock"{member}}}"#);
            assert_eq!(refusal(&json), sentence, "{json}");
        }
    }

    #[test]
    fn entropy_is_32_to_512_bytes_in_hexadecimal() {
        for (digits, bytes) in [
            ("0f".repeat(32), vec![0x0F; 32]),
            ("aB".repeat(512), vec![0xAB; 512]),
        ] {
            let json = format!(r#"{{"op":"reseed","entropy":"{digits}"}}"#);
            let entropy = Entropy::new(bytes).unwrap();
            assert_eq!(
                Request::parse(json.as_bytes()),
                Ok(Request::Reseed(entropy))
            );
        }
        let sentence =
            "'entropy' must be a string of hexadecimal digits, two for each of 32 to 512 bytes";
        let string = |digits: &str| format!(r#","entropy":"{digits}""#);
        for member in [
            String::new(),
            r#","entropy":null"#.to_owned(),
            r#","entropy":1"#.to_owned(),
            r#","entropy":["00"]"#.to_owned(),
            string(""),
            string(&"00".repeat(31)),
            string(&"00".repeat(513)),
            string(&"0".repeat(65)),
            string(&"0g".repeat(32)),
            string(&"+1".repeat(32)),
            string(&"é".repeat(32)),
        ] {
            let json = format!(r#"{{"op":"reseed"{member}}}"#);
            assert_eq!(refusal(&json), sentence, "{json}");
        }
    }

    #[test]
    fn time_of_the_system_is_taken_unless_it_is_out_of_range() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let time = UnixTime::from_system_time(at(7) + Duration::from_nanos(1));
        assert_eq!(time.map(UnixTime::nanoseconds), Some(7_000_000_001));
        let before = SystemTime::UNIX_EPOCH - Duration::from_nanos(1);
        for time in [before, at(i64::MAX as u64 / 1_000_000_000 + 1)] {
            assert_eq!(UnixTime::from_system_time(time), None);
        }
    }

    #[test]
    fn entropy_is_not_shown() {
        let entropy = Entropy::new(vec![0xAB; 32]).unwrap();
        assert_eq!(format!("{entropy:?}"), "32 bytes of entropy");
    }
}
