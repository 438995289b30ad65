//! Two of three: what keeps a figure that swings around a threshold from being a stream of events.

/// That many of the last `SAMPLES_IN_VIEW` samples decide.
const SAMPLES_TO_ACT: u32 = 2;
const SAMPLES_IN_VIEW: u32 = 3;

/// Whether one condition of one tenant is raised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Switch {
    raised: bool,
    /// Of the last samples, newest in the lowest bit: whether each called for the turn that is possible now.
    calls: u8,
}

/// A turn that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The condition set in.
    Raise,
    /// The condition is over.
    Clear,
}

impl Switch {
    /// As it was left by an earlier process.
    pub(super) const fn resumed(raised: bool) -> Self {
        Self { raised, calls: 0 }
    }

    pub(super) const fn is_raised(self) -> bool {
        self.raised
    }

    /// Whether the next samples may turn it.
    pub(super) const fn is_moving(self) -> bool {
        self.calls != 0
    }

    /// Takes a sample: whether it lies above what raises, and below what clears. The turn stays due until it is made, as
    /// long as samples call for it: the figures that go with it are those of a sample that did.
    pub(super) fn sample(&mut self, above: bool, below: bool) -> Option<Turn> {
        let (called, turn) = if self.raised {
            (below, Turn::Clear)
        } else {
            (above, Turn::Raise)
        };
        self.calls = (self.calls << 1 | u8::from(called)) & ((1 << SAMPLES_IN_VIEW) - 1);
        (called && self.calls.count_ones() >= SAMPLES_TO_ACT).then_some(turn)
    }

    /// The turn was made.
    pub(super) fn turn(&mut self, turn: Turn) {
        *self = Self::resumed(turn == Turn::Raise);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample that calls for raising (`^`), for clearing (`v`), or for neither (`-`); what each turned: raised (+), cleared
    /// (-), nothing (.).
    fn turns(switch: &mut Switch, samples: &str, accept: bool) -> String {
        let mut seen = String::new();
        for sample in samples.chars() {
            let turn = switch.sample(sample == '^', sample == 'v');
            if let Some(turn) = turn.filter(|_| accept) {
                switch.turn(turn);
            }
            seen.push(match turn {
                Some(Turn::Raise) => '+',
                Some(Turn::Clear) => '-',
                None => '.',
            });
        }
        seen
    }

    #[test]
    fn two_of_three_samples_turn_it() {
        let cases = [
            ("^", "."),
            ("^^^^", ".+.."),
            ("^v^", "..+"),
            ("^vv^", "...."),
            ("---", "..."),
            ("^^vv", ".+.-"),
            ("^^v--v", ".+...."),
            ("^^v-v", ".+..-"),
            ("vvvv", "...."),
        ];
        for (samples, expected) in cases {
            assert_eq!(turns(&mut Switch::default(), samples, true), expected, "{samples}");
        }
        assert_eq!(
            turns(&mut Switch::resumed(true), "^^vv^^", true),
            "...-.+",
            "what was raised before is not raised again"
        );
    }

    #[test]
    fn a_turn_that_nobody_made_is_due_again_and_never_with_the_figures_of_a_sample_that_did_not_call_for_it() {
        let mut switch = Switch::default();
        assert_eq!(turns(&mut switch, "^^^v^-^vvv", false), ".++.+.+...");
        assert!(!switch.is_raised() && !switch.is_moving());
    }

    #[test]
    fn a_figure_that_swings_around_one_threshold_turns_it_once() {
        assert_eq!(
            turns(&mut Switch::default(), &"^-".repeat(500), true)
                .matches('+')
                .count(),
            1
        );
        let around_clear = turns(&mut Switch::resumed(true), &"v-".repeat(500), true);
        assert_eq!(around_clear.matches(['+', '-']).count(), 1);
        let wild = turns(&mut Switch::default(), &"^^vv".repeat(250), true);
        assert_eq!(wild.matches(['+', '-']).count(), 500, "at most one per two samples");
    }
}
