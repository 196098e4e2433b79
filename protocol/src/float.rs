//! Floats from JSON's numbers, exactly rounded.
//!
//! Owns what `str::parse::<f64>` does, in a twentieth of its size: that one keeps 16 KB of code and
//! tables, to be fast, in every guest. Here whole numbers are divided bit by bit, which takes
//! microseconds. Refuses nothing: callers have a number that JSON's grammar allows.

use std::cmp::Ordering;

/// The most digits that count one by one. Where two floats meet lies a number of at most 767; of
/// what comes behind that, only whether it is zero can matter.
const MAX_DIGITS: usize = 768;

/// A positive number from 10 to this power on is infinite.
const INFINITE_MAGNITUDE: i64 = 310;
/// A number below 10 to this power is 0.
const ZERO_MAGNITUDE: i64 = -324;

/// Bits of a float's significand.
const SIGNIFICAND_BITS: i64 = 53;
/// The binary exponents of finite floats that have all these bits.
const MAX_EXPONENT: i64 = 1023;
const MIN_EXPONENT: i64 = -1022;

/// The float next to `number`, which is a JSON number; of two that are equally near, the even one.
pub(crate) fn parse(number: &str) -> f64 {
    match number.strip_prefix('-') {
        Some(positive) => -parse_positive(positive),
        None => parse_positive(number),
    }
}

fn parse_positive(number: &str) -> f64 {
    let (significand, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let mut decimal = Decimal::read(significand);
    decimal.exponent += exponent_of(exponent);
    let magnitude = decimal.digits.len() as i64 + decimal.exponent;
    if decimal.digits.is_empty() || magnitude <= ZERO_MAGNITUDE {
        return 0.0;
    }
    if magnitude > INFINITE_MAGNITUDE {
        return f64::INFINITY;
    }
    let mut numerator = Natural::default();
    for digit in decimal.digits {
        numerator.multiply_and_add(10, digit);
    }
    let mut denominator = Natural(vec![1]);
    let scaled = if decimal.exponent < 0 {
        &mut denominator
    } else {
        &mut numerator
    };
    for _ in 0..decimal.exponent.unsigned_abs() {
        scaled.multiply_and_add(10, 0);
    }
    quotient(numerator, denominator)
}

/// An exponent's value; what is larger than any number's length is cut.
fn exponent_of(text: &str) -> i64 {
    let limit = i64::from(i32::MAX);
    let digits = text.trim_start_matches(['+', '-']);
    let value = digits.bytes().fold(0, |value, digit| {
        (10 * value + i64::from(digit - b'0')).min(limit)
    });
    if text.starts_with('-') { -value } else { value }
}

/// `digits` times 10 to the `exponent`; the first digit is not 0.
struct Decimal {
    digits: Vec<u32>,
    exponent: i64,
}

impl Decimal {
    fn read(significand: &str) -> Self {
        let (whole, fraction) = significand.split_once('.').unwrap_or((significand, ""));
        let mut digits = Vec::new();
        let mut exponent = -(fraction.len() as i64);
        let mut is_cut = false;
        for digit in whole.bytes().chain(fraction.bytes()) {
            let digit = u32::from(digit - b'0');
            if digits.len() < MAX_DIGITS {
                if digit != 0 || !digits.is_empty() {
                    digits.push(digit);
                }
            } else {
                exponent += 1;
                is_cut |= digit != 0;
            }
        }
        if is_cut {
            digits.push(1);
            exponent -= 1;
        }
        Self { digits, exponent }
    }
}

/// The float next to a quotient of positive numbers.
fn quotient(mut numerator: Natural, mut denominator: Natural) -> f64 {
    let mut exponent = numerator.bits() - denominator.bits();
    if exponent < 0 {
        numerator.shift_left(exponent.unsigned_abs());
    } else {
        denominator.shift_left(exponent.unsigned_abs());
    }
    if numerator.compare(&denominator) == Ordering::Less {
        numerator.shift_left(1);
        exponent -= 1;
    }
    // What is left is at least 1, less than 2, and to be multiplied by 2 to the `exponent`.
    if exponent > MAX_EXPONENT {
        return f64::INFINITY;
    }
    // Below the least exponent a float has fewer bits.
    let scale = exponent.max(MIN_EXPONENT);
    if scale - exponent > SIGNIFICAND_BITS {
        return 0.0;
    }
    let mut significand = 0;
    for _ in 0..SIGNIFICAND_BITS - (scale - exponent) {
        significand *= 2;
        if numerator.compare(&denominator) != Ordering::Less {
            numerator.subtract(&denominator);
            significand += 1;
        }
        numerator.shift_left(1);
    }
    significand += match numerator.compare(&denominator) {
        Ordering::Less => 0,
        Ordering::Equal => significand % 2,
        Ordering::Greater => 1,
    };
    // The first bit of a full significand, and one that rounding carries, count as exponent.
    f64::from_bits((((scale - MIN_EXPONENT) as u64) << (SIGNIFICAND_BITS - 1)) + significand)
}

/// A whole number in units of 32 bits, the least first; the last one is not 0.
#[derive(Default)]
struct Natural(Vec<u32>);

impl Natural {
    fn bits(&self) -> i64 {
        let unused = self.0.last().map_or(0, |last| last.leading_zeros());
        32 * self.0.len() as i64 - i64::from(unused)
    }

    fn multiply_and_add(&mut self, factor: u32, summand: u32) {
        let mut carry = u64::from(summand);
        for unit in &mut self.0 {
            carry += u64::from(*unit) * u64::from(factor);
            *unit = carry as u32;
            carry >>= 32;
        }
        if carry != 0 {
            self.0.push(carry as u32);
        }
    }

    fn shift_left(&mut self, bits: u64) {
        if !self.0.is_empty() {
            self.multiply_and_add(1 << (bits % 32), 0);
            let units = (bits / 32) as usize;
            self.0.splice(..0, std::iter::repeat_n(0, units));
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        let by_length = self.0.len().cmp(&other.0.len());
        by_length.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    /// Takes a number away that is not larger.
    fn subtract(&mut self, other: &Self) {
        let mut borrow = false;
        for (at, unit) in self.0.iter_mut().enumerate() {
            let other = other.0.get(at).copied().unwrap_or(0);
            let (less, first) = unit.overflowing_sub(other);
            let (less, second) = less.overflowing_sub(u32::from(borrow));
            *unit = less;
            borrow = first | second;
        }
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn is_as_std_has_it(number: &str) -> bool {
        let expected: f64 = number.parse().unwrap();
        parse(number).to_bits() == expected.to_bits()
    }

    quickcheck! {
        fn printed_floats_come_back(bits: u64) -> bool {
            let float = f64::from_bits(bits & !(1 << 62));
            !float.is_finite()
                || is_as_std_has_it(&format!("{float:?}")) && is_as_std_has_it(&format!("{float:e}"))
        }

        fn any_number_is_rounded_as_std_does(whole: u64, fraction: u64, exponent: i16) -> bool {
            is_as_std_has_it(&format!("{whole}.{fraction}e{}", exponent % 400))
        }
    }

    #[test]
    fn numbers_at_the_edges_are_rounded_as_std_does() {
        for number in [
            "0",
            "-0",
            "-0.0",
            "0e999999999999999999999",
            "1",
            "-1.5E+2",
            "0.1",
            "9007199254740992",
            "9007199254740993",
            "9007199254740993.00000000000000000000000000000000000001",
            "9007199254740995",
            "18014398509481983",
            "1e22",
            "1e23",
            "1.7976931348623157e308",
            "1.7976931348623158e308",
            "1.7976931348623159e308",
            "1e309",
            "1e310",
            "1e99999999999999999999",
            "2.2250738585072014e-308",
            "2.2250738585072011e-308",
            "2.225073858507201e-308",
            "4.9e-324",
            "2.4703282292062327e-324",
            "2.4703282292062328e-324",
            "1e-324",
            "1e-325",
            "1e-99999999999999999999",
        ] {
            assert!(is_as_std_has_it(number), "{number}");
        }
    }

    #[test]
    fn numbers_of_any_length_are_rounded_by_all_their_digits() {
        let zeros = "0".repeat(2000);
        for number in [
            format!("9007199254740993.{zeros}"),
            format!("9007199254740993.{zeros}1"),
            format!("9007199254740993{zeros}e-2000"),
            format!("9007199254740993{zeros}1e-2001"),
            format!("0.{zeros}9007199254740993e2016"),
            format!("1{zeros}"),
            format!("0.{zeros}1"),
            // Half of the least float, which has the most digits of all.
            format!("{:.1075}", f64::from_bits(1)).replacen("494", "247", 1),
            format!("{:.1080}1", f64::from_bits(1)),
        ] {
            assert!(is_as_std_has_it(&number), "{number}");
        }
    }
}
