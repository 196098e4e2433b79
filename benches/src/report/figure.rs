//! Numbers and works as a reader wants them.

use crate::results::Task;
use crate::work::{Scale, Unit, Work};

/// What a work is, in a table's first column.
pub(crate) fn title(task: Task, is_quick: bool) -> String {
    let scale = match is_quick {
        true => Scale::quick(1),
        false => Scale::full(1),
    };
    let bytes = task.bytes.map(size).unwrap_or_default();
    match task.work {
        Work::Ping => "`ping`".to_owned(),
        Work::PingOnOneProcessor => "`ping`, on one processor".to_owned(),
        Work::PingBesideStreams => format!("`ping` beside {} streams", scale.streams),
        Work::RunShell => "`sh -c true`".to_owned(),
        Work::RunShellOnOneProcessor => "`sh -c true`, on one processor".to_owned(),
        Work::RunBareOnOneProcessor => "`true`, no shell, on one processor".to_owned(),
        Work::RunBare => "`true`, no shell".to_owned(),
        Work::AtOnce => format!(
            "{} of `sh -c true` at once, until the last ends",
            scale.at_once
        ),
        Work::InARow => "many of `sh -c true` in a row, each".to_owned(),
        Work::Output | Work::Put | Work::Get => bytes,
        Work::Start => "start to listening".to_owned(),
        Work::IdleResident => "idle, resident".to_owned(),
        Work::IdleUnshared => "idle, unshared".to_owned(),
        Work::BusyResident => format!("busy ({} streams), resident", scale.streams),
        Work::BusyUnshared => format!("busy ({} streams), unshared", scale.streams),
        Work::StalledResident => "64 stalled requests under 64 KiB, resident".to_owned(),
        Work::FloodResident => "128 full windows and 16 MiB, resident".to_owned(),
        Work::AfterManyGrowth => format!("resident more after {} requests", scale.runs_in_a_row),
        Work::AfterManyLeft => format!(
            "descriptors, threads, processes and files left by {} requests",
            scale.runs_in_a_row
        ),
    }
}

/// A number of bytes in its largest whole unit.
pub(crate) fn size(bytes: u64) -> String {
    match bytes.checked_ilog2().unwrap_or(0) {
        ..10 => format!("{bytes} B"),
        10..20 => format!("{} KiB", bytes >> 10),
        20..30 => format!("{} MiB", bytes >> 20),
        30.. => format!("{} GiB", bytes >> 30),
    }
}

/// A sample with its unit.
pub(crate) fn sample(unit: Unit, value: u64) -> String {
    let value_of = |divisor: f64| three_digits(value as f64 / divisor);
    match unit {
        Unit::Nanoseconds if value < 1_000_000 => format!("{} µs", value_of(1e3)),
        Unit::Nanoseconds if value < 1_000_000_000 => format!("{} ms", value_of(1e6)),
        Unit::Nanoseconds => format!("{} s", value_of(1e9)),
        Unit::KiB if value < 10 * 1024 => format!("{value} KiB"),
        Unit::KiB => format!("{} MiB", value_of(1024.0)),
        Unit::MilliPercent => format!("{} %", value_of(1e3)),
        Unit::Count => value.to_string(),
    }
}

/// Millions of bytes a second.
pub(crate) fn rate(bytes: u64, nanoseconds: u64) -> f64 {
    bytes as f64 * 1e3 / nanoseconds.max(1) as f64
}

/// Three digits that count, without zeros behind the point.
pub(crate) fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_has_three_digits_and_the_unit_that_fits() {
        let told = |value| sample(Unit::Nanoseconds, value);
        assert_eq!(told(43_077), "43.1 µs");
        assert_eq!(told(1_607_158), "1.61 ms");
        assert_eq!(told(2_000_000_000), "2 s");
        assert_eq!(sample(Unit::KiB, 404), "404 KiB");
        assert_eq!(sample(Unit::KiB, 14_060), "13.7 MiB");
        assert_eq!(sample(Unit::MilliPercent, 1_250), "1.25 %");
    }

    #[test]
    fn size_is_in_its_largest_whole_unit() {
        assert_eq!(size(1 << 10), "1 KiB");
        assert_eq!(size(256 << 20), "256 MiB");
        assert_eq!(size(1 << 30), "1 GiB");
    }

    #[test]
    fn rate_is_in_millions_of_bytes_a_second() {
        assert_eq!(three_digits(rate(1 << 30, 1_000_000_000)), "1074");
    }
}
