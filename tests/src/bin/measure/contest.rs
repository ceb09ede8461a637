//! Two things in turns, and the median of what came out.

/// Rates of ours and of what it is held against, round by round.
#[derive(Debug, Default)]
pub struct Contest {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Contest {
    /// One round; who goes first changes from round to round.
    pub fn round(&mut self, ours: impl FnOnce() -> f64, theirs: impl FnOnce() -> f64) {
        if self.ours.len().is_multiple_of(2) {
            self.ours.push(ours());
            self.theirs.push(theirs());
        } else {
            self.theirs.push(theirs());
            self.ours.push(ours());
        }
    }

    pub fn ours(&self) -> f64 {
        median(self.ours.clone())
    }

    pub fn theirs(&self) -> f64 {
        median(self.theirs.clone())
    }

    /// The median of the rounds' ratios: two runs of one round have had the same disturbances.
    pub fn ratio(&self) -> f64 {
        median(self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours / theirs).collect())
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n.is_multiple_of(2) => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two_in_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
    }

    #[test]
    fn who_goes_first_changes() {
        let order = std::cell::RefCell::new(String::new());
        let mut contest = Contest::default();
        for _ in 0..2 {
            let run = |who| {
                order.borrow_mut().push(who);
                1.0
            };
            contest.round(|| run('o'), || run('t'));
        }
        assert_eq!(order.into_inner(), "otto");
    }
}
