//! How much of a payment can be given back, and how money and credits follow each other in parts. Pure.
//!
//! The one rule of rounding: a part is rounded down, to whole units of what is counted, and all of one is all of the
//! other. So money for some of the credits is never more than they cost, credits that go with some of the money are never
//! more than it bought, and fractions stay where they are. Sums that were given back are counted together before they are
//! rounded: ten parts take what one of the same size would have taken.

/// What is known of the money of a payment, in the currency's smallest unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// What was really charged, after discounts.
    pub charged: i64,
    /// What of it Stripe has said was given back, whoever asked for it.
    pub heard: i64,
    /// What it has answered that it gives back.
    pub done: i64,
    /// What it is being asked to give back.
    pub asked: i64,
}

/// What somebody wants to give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// All that is left.
    Rest,
    /// So much money.
    Money(i64),
    /// The money of so many of its milli-credits.
    Credits(i64),
}

/// Why that cannot be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// The wish is for nothing, or for more than there is.
    #[error("{left} of the {charged} that were charged can be given back, in the currency's smallest unit")]
    Left {
        /// What is left.
        left: i64,
        /// What was charged.
        charged: i64,
    },
    /// So few credits cost nothing.
    #[error("{0} milli-credits cost less than the currency's smallest unit; give back more of them")]
    Nothing(i64),
}

impl Taken {
    /// What can still be given back. What was answered for is either heard of by now or will be; what was done at Stripe's
    /// own desk is only heard of.
    pub fn left(&self) -> i64 {
        (self.charged - self.heard.max(self.done) - self.asked).max(0)
    }

    /// How much money a wish comes to, for a payment that brought `credits`.
    ///
    /// # Errors
    /// It is nothing, or more than is left.
    pub fn amount(&self, wish: Wish, credits: i64) -> Result<i64, TooMuch> {
        let (left, charged) = (self.left(), self.charged);
        let amount = match wish {
            Wish::Rest => left,
            Wish::Money(amount) => amount,
            Wish::Credits(part) if part > credits => return Err(TooMuch::Left { left, charged }),
            Wish::Credits(part) => match share(charged, part, credits) {
                0 if left > 0 => return Err(TooMuch::Nothing(part)),
                amount => amount,
            },
        };
        if (1..=left).contains(&amount) { Ok(amount) } else { Err(TooMuch::Left { left, charged }) }
    }
}

/// The part of `all` that goes with `part` of `whole`, rounded down; all with all of it, nothing where there is no whole.
pub fn share(all: i64, part: i64, whole: i64) -> i64 {
    if whole <= 0 || part <= 0 {
        return 0;
    }
    let share = i128::from(all) * i128::from(part.min(whole)) / i128::from(whole);
    i64::try_from(share).unwrap_or(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_PRICE: Taken = Taken { charged: 500, heard: 0, done: 0, asked: 0 };

    #[test]
    fn no_more_is_given_back_than_was_charged_whoever_gave_the_rest() {
        let taken = Taken { charged: 500, heard: 200, done: 150, asked: 100 };
        assert_eq!(taken.left(), 200, "what was answered for is among what was heard");
        assert_eq!(taken.amount(Wish::Rest, 100_000), Ok(200));
        assert_eq!(taken.amount(Wish::Money(200), 100_000), Ok(200));
        for wish in [Wish::Money(201), Wish::Money(0), Wish::Money(-1), Wish::Credits(40_200), Wish::Credits(100_001)] {
            let refused = taken.amount(wish, 100_000);
            assert_eq!(refused, Err(TooMuch::Left { left: 200, charged: 500 }), "{wish:?}");
        }
        assert_eq!(Taken { heard: 600, ..taken }.left(), 0, "never less than nothing");
        let free = Taken { charged: 0, ..Taken::default() };
        assert_eq!(free.amount(Wish::Rest, 100_000), Err(TooMuch::Left { left: 0, charged: 0 }));
    }

    #[test]
    fn credits_bring_back_what_they_cost_rounded_down_and_all_of_them_all_of_it() {
        assert_eq!(HALF_PRICE.amount(Wish::Credits(100_000), 100_000), Ok(500));
        assert_eq!(HALF_PRICE.amount(Wish::Credits(33_333), 100_000), Ok(166));
        assert_eq!(HALF_PRICE.amount(Wish::Credits(199), 100_000), Err(TooMuch::Nothing(199)));
        // There and back again never takes more than was asked for.
        for credits in [1, 7, 99_999, 100_000, 550_000] {
            for part in (1..=credits).step_by(usize::try_from(credits).unwrap().div_ceil(97)) {
                for charged in [1, 49, 500, 999] {
                    let money = share(charged, part, credits);
                    assert!(share(credits, money, charged) <= part, "{part} of {credits} for {charged}");
                    assert!(money <= charged);
                }
            }
        }
    }

    #[test]
    fn a_share_is_rounded_down_once() {
        assert_eq!((share(10, 1, 3), share(10, 2, 3), share(10, 3, 3), share(10, 4, 3)), (3, 6, 10, 10));
        assert_eq!((share(10, 0, 3), share(10, 1, 0), share(i64::MAX, 1, 2)), (0, 0, i64::MAX / 2));
    }
}
