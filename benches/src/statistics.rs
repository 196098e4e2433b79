//! Medians, percentiles and ratios of samples.

/// The smallest sample that at least so many percent of all do not exceed; 0 of none.
pub(crate) fn percentile(samples: &[u64], percent: usize) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// The median over all rounds.
pub(crate) fn median(rounds: &[Vec<u64>]) -> u64 {
    percentile(&rounds.concat(), 50)
}

/// The 99th percentile over all rounds; the largest of fewer than a hundred samples.
pub(crate) fn p99(rounds: &[Vec<u64>]) -> u64 {
    percentile(&rounds.concat(), 99)
}

/// How many times another's: the median of what each round of the two, which were next to one another, says.
pub(crate) fn ratio(rounds: &[Vec<u64>], floor: &[Vec<u64>]) -> Option<f64> {
    let mut ratios: Vec<f64> = rounds
        .iter()
        .zip(floor)
        .map(|(own, floor)| (percentile(own, 50), percentile(floor, 50)))
        .filter(|(_, floor)| *floor > 0)
        .map(|(own, floor)| own as f64 / floor as f64)
        .collect();
    ratios.sort_by(f64::total_cmp);
    let middle = ratios.len() / 2;
    match ratios.len() % 2 {
        1 => Some(ratios[middle]),
        _ => Some((ratios.get(middle.checked_sub(1)?)? + ratios[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_a_sample() {
        let samples: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(percentile(&samples, 50), 50);
        assert_eq!(percentile(&samples, 99), 99);
        assert_eq!(percentile(&samples, 100), 100);
        assert_eq!(percentile(&[7], 50), 7);
        assert_eq!(percentile(&[7], 99), 7);
    }

    #[test]
    fn percentile_of_nothing_is_0() {
        assert_eq!(percentile(&[], 99), 0);
    }

    #[test]
    fn p99_of_few_samples_is_the_largest() {
        assert_eq!(p99(&[vec![1, 5], vec![3]]), 5);
    }

    #[test]
    fn ratio_is_the_median_of_the_rounds_ratios() {
        let own = [vec![2], vec![30], vec![8]];
        let floor = [vec![1], vec![10], vec![2]];
        assert_eq!(ratio(&own, &floor), Some(3.0));
        assert_eq!(ratio(&own[..2], &floor), Some(2.5));
    }

    #[test]
    fn ratio_to_nothing_is_none() {
        assert_eq!(ratio(&[vec![1]], &[]), None);
        assert_eq!(ratio(&[vec![1]], &[vec![0]]), None);
    }

    #[test]
    fn one_slow_round_does_not_move_the_ratio() {
        let own = [vec![12], vec![12], vec![900]];
        let floor = [vec![10], vec![10], vec![10]];
        assert_eq!(ratio(&own, &floor), Some(1.2));
    }
}
