//! Moments at which something was counted, all of them kept for as long as they matter.

use std::collections::VecDeque;
use std::time::Duration;

/// How long what has left is kept, for a time that goes back. Nobody is away for longer.
const KEPT: Duration = Duration::from_secs(5 * 24 * 60 * 60);

/// What was counted in the last `span`: exact, one moment after the other.
#[derive(Debug)]
pub(super) struct Window {
    span: Duration,
    /// Moment and how many, oldest first.
    moments: VecDeque<(Duration, u64)>,
    held: u64,
    /// What has left, oldest first.
    gone: VecDeque<(Duration, u64)>,
    /// How many were ever added and not taken back.
    added: u64,
}

impl Window {
    pub(super) const fn of(span: Duration) -> Self {
        Self {
            span,
            moments: VecDeque::new(),
            held: 0,
            gone: VecDeque::new(),
            added: 0,
        }
    }

    /// Counts at a moment that is not before any other.
    pub(super) fn add(&mut self, at: Duration, count: u64) {
        match self.moments.back_mut() {
            Some((last, held)) if *last == at => *held += count,
            _ => self.moments.push_back((at, count)),
        }
        self.held += count;
        self.added += count;
    }

    /// Lets go of what is `span` old or older.
    pub(super) fn advance(&mut self, now: Duration) {
        while let Some((at, count)) = self.moments.pop_front_if(|(at, _)| *at + self.span <= now) {
            self.held -= count;
            self.gone.push_back((at, count));
        }
        while self
            .gone
            .pop_front_if(|(at, _)| *at + self.span + KEPT <= now)
            .is_some()
        {}
    }

    /// Time has gone back to `now`: what had left since is there again, and nothing is taken for younger than that.
    pub(super) fn go_back_to(&mut self, now: Duration) {
        let mut younger = 0;
        while let Some((_, count)) = self.moments.pop_back_if(|(at, _)| *at > now) {
            younger += count;
        }
        if younger > 0 {
            self.moments.push_back((now, younger));
        }
        while let Some((at, count)) = self.gone.pop_back_if(|(at, _)| *at + self.span > now) {
            self.held += count;
            self.moments.push_front((at.min(now), count));
        }
    }

    /// How many there are.
    pub(super) const fn held(&self) -> u64 {
        self.held
    }

    /// Where the window is, for [`Self::take_back_to`].
    pub(super) const fn added(&self) -> u64 {
        self.added
    }

    /// Takes back what was added since `added` was that much.
    pub(super) fn take_back_to(&mut self, added: u64) {
        let mut surplus = self.added.saturating_sub(added);
        self.added -= surplus;
        while surplus > 0
            && let Some((at, count)) = self.moments.pop_back()
        {
            let taken = surplus.min(count);
            self.held -= taken;
            surplus -= taken;
            if taken < count {
                self.moments.push_back((at, count - taken));
            }
        }
        while surplus > 0
            && let Some((at, count)) = self.gone.pop_back()
        {
            let taken = surplus.min(count);
            surplus -= taken;
            if taken < count {
                self.gone.push_back((at, count - taken));
            }
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.moments.clear();
        self.gone.clear();
        self.held = 0;
    }

    /// Holds each for so long from now on.
    pub(super) const fn set_span(&mut self, span: Duration) {
        self.span = span;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_window_holds_what_is_younger_than_its_span() {
        let mut window = Window::of(s(10));
        window.add(s(1), 2);
        window.add(s(5), 1);
        window.add(s(5), 1);
        for (now, held) in [(9, 4), (10, 4), (11, 2), (14, 2), (15, 0)] {
            window.advance(s(now));
            assert_eq!(window.held(), held, "at {now}");
        }
    }

    #[test]
    fn what_has_left_comes_back_with_time_and_what_was_added_can_be_taken_back() {
        let mut window = Window::of(s(10));
        window.add(s(1), 3);
        let before = window.added();
        window.add(s(4), 5);
        window.add(s(6), 1);
        window.go_back_to(s(3));
        window.advance(s(11));
        assert_eq!(window.held(), 6);
        window.advance(s(13));
        assert_eq!(window.held(), 0);
        window.go_back_to(s(2));
        assert_eq!(window.held(), 9);
        window.take_back_to(before + 2);
        assert_eq!((window.held(), window.added()), (5, before + 2));
        window.take_back_to(0);
        assert_eq!(window.held(), 0);
    }
}
